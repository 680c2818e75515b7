//! `floodwall explain`.

use floodwall::proxy::start;
use serde_json::json;

use super::Trouble;
use super::control;
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
    // Without a control socket nobody can be asked.
    let deaf = running.control.is_none()
        && config.as_ref().is_some_and(|config| config.control().is_none());
    let asks = !(request.offline || deaf);
    if asks {
        match control::question(&control::socket(running)?, &question, request.asked.json) {
            Err(nobody) if nobody.is_nobody() && config.is_some() => {}
            answer => return answer.map_err(Trouble::from),
        }
    }
    let config = config.unwrap_or_default();
    let explained = start::explain(&config, &question);
    let (text, json) = explained.map_err(|error| Trouble::Failed(format!("floodwall: {error}")))?;
    Ok(match request.asked.json {
        true => format!("{json}\n"),
        false => format!("{text}\n(no process was asked: this is as after a start)\n"),
    })
}
