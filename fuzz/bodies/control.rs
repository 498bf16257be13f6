//! Requests on the control socket and signed commands, of any bytes: refused, or encoded to the same meaning again.

use snapferry::service::control::{ControlBody, Request, Response};

/// Runs the decoders.
pub(crate) fn body(data: &[u8]) {
    if let Ok(command) = ControlBody::decode(data) {
        assert_eq!(command.encode(), data);
    }
    if let Ok(request) = Request::decode(data.to_vec().into()) {
        assert_eq!(Request::decode(request.encode().into()).unwrap(), request);
        if let Request::Command(command) = request {
            let _ = ControlBody::decode(&command.body);
        }
    }
    let _ = Response::decode(data.to_vec().into());
}
