//! A provider behind TLS is verified, or nothing is sent to it.
