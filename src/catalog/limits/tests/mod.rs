mod request; // a whole request among many
mod purse;
mod rate;
mod interleavings; // what atomics are made of, in every order that threads may come
