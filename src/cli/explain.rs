//! `floodwall explain`.

use floodwall::proxy::start;
use serde_json::json;

use super::Trouble;
use super::control::{self, NoAnswer};
use super::line::Request;

/// What would become of the request, as the running process says it; where none runs, as the
/// configuration and its state files have it.
pub fn explain(request: &Request) -> Result<String, Trouble> {
    let question = json!({
        "do": "explain",
        "method": request.method,
        "path": request.path,
        "host": request.host,
        "cookies": request.cookies,
        "address": request.address.to_string(),
    });
    let running = &request.asked.running;
    let config = running.config()?;
    let asked = match control::socket(running) {
        Ok(socket) => control::question(&socket, &question, request.asked.json),
        // Without a control socket there is the configuration.
        Err(trouble) if config.is_none() => return Err(trouble),
        Err(_) => Err(NoAnswer::Lost),
    };
    match (asked, config) {
        (Ok(said), _) => Ok(said),
        (Err(NoAnswer::Unreached { .. } | NoAnswer::Lost), Some(config)) => {
            let (text, json) = start::explain(&config, &question).map_err(Trouble::Failed)?;
            Ok(if request.asked.json {
                format!("{json}\n")
            } else {
                format!("{text}\n(no process was asked: this is as after a start)\n")
            })
        }
        (Err(error), _) => Err(error.into()),
    }
}
