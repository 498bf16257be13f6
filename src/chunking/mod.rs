//! WHICH bytes, from whom, and are they right (no tokio, no quinn).

pub mod plan;
