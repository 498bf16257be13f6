//! Local control: how commands on the same machine ask the running service, and how an admin's signature makes it delete.
//!
//! ```text
//! snapshot list|show|sign --Request--> control.sock (own user, root) --> answer --> Catalog, Attestor
//! snapshot delete --ControlBody signed by an admin--> admission (target, time, ADMIN, signature, once) --> Catalog::request_deletion
//! ```
//!
//! `proto/snapferry/v1/control.proto` is the specification. Being able to connect is enough to read and to get what the service
//! signs anyway; whatever changes something needs an admin's signature, too: no admin key lies on this machine, and root of the
//! machine is no admin of the organisation.

mod admission;
mod answer;
mod client;
mod command;
mod pb;
mod seen;
mod server;
mod socket;
mod wire;

pub use admission::{COMMAND_AGE_MAX, NotAdmitted};
pub use answer::ControlContext;
pub use client::{AskControlError, ask_control};
pub use command::{CONTROL_BODY_BYTES_MAX, CONTROL_NONCE_BYTES, ControlBody, ControlBodyError, Method, SignedCommand};
pub use seen::{COMMANDS_REMEMBERED_MAX, NONCE_MEMORY, SeenCommands, SeenError};
pub use server::{CONTROL_CONNECTIONS_MAX, CONTROL_IO_TIMEOUT, ControlError, ControlServer};
pub use socket::control_socket_path;
pub use wire::{
    ControlWireError, LISTED_MAX, Listed, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, Refused, RefusedCode, Request,
    Response, Shown,
};
