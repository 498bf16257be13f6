//! Policies against recorded answers of Fabric's own parser, and against channels made for the purpose.

mod channel_policies;
mod language;
mod rules;
mod smallest_sets;
