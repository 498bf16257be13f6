//! snapferry
fn main() {}
