#[rustfmt::skip]
pub mod domain;
