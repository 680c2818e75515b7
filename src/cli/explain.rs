//! `floodwall explain`.

use serde_json::json;

use super::Trouble;
use super::control;
use super::line::Request;

/// What would become of the request, as the running process says it; where none runs, as the
/// configuration and its state file have it.
pub fn explain(request: &Request) -> Result<String, Trouble> {
    let question = json!({
        "do": "explain",
        "method": request.method,
        "path": request.path,
        "host": request.host,
        "cookies": request.cookies,
        "address": request.address.to_string(),
    });
    let socket = control::socket(&request.asked.running)?;
    control::question(&socket, &question, request.asked.json).map_err(Trouble::from)
}
