//! A relay between Floodwall and a genuine site, which spoils answers on demand: the view has run,
//! its record is written, and what comes back proves nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;

use super::load::Target;

/// What becomes of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Pass,
    /// The connection is closed instead.
    Reset,
    /// Something that is no HTTP comes instead.
    Garbage,
    /// A head comes that has no end.
    Endless,
    /// Nothing comes for as long as the connection stays open.
    Nothing,
}

impl Answers {
    pub const SPOILT: [Self; 4] = [Self::Reset, Self::Garbage, Self::Endless, Self::Nothing];
}

pub struct Relay {
    address: SocketAddr,
    answers: Arc<AtomicU8>,
    over: Arc<AtomicBool>,
}

impl Relay {
    /// In front of a site, on a free port.
    pub fn start(site: Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let answers = Arc::new(AtomicU8::new(Answers::Pass as u8));
        let over = Arc::new(AtomicBool::new(false));
        let relay = Self { address, answers: Arc::clone(&answers), over: Arc::clone(&over) };
        thread::spawn(move || {
            while let Ok((downstream, _)) = listener.accept() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let answers = Arc::clone(&answers);
                thread::spawn(move || relay_one(downstream, site, &answers));
            }
        });
        relay
    }

    /// As Floodwall's `upstream`.
    pub fn upstream(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers fare so.
    pub fn set(&self, answers: Answers) {
        self.answers.store(answers as u8, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // So that the listener looks.
        let _ = TcpStream::connect(self.address);
    }
}

fn relay_one(mut downstream: TcpStream, site: Target, answers: &AtomicU8) {
    let Ok(mut upstream) = TcpStream::connect(site.address()) else { return };
    let (Ok(mut requests), Ok(mut onwards)) = (downstream.try_clone(), upstream.try_clone()) else {
        return;
    };
    let to_site = thread::spawn(move || {
        let _ = std::io::copy(&mut requests, &mut onwards);
        let _ = onwards.shutdown(Shutdown::Both);
    });
    let mut chunk = [0; 1 << 14];
    while let Ok(length @ 1..) = upstream.read(&mut chunk) {
        let now = answers.load(Ordering::SeqCst);
        let spoilt = Answers::SPOILT.into_iter().find(|answers| *answers as u8 == now);
        let relayed = match spoilt {
            None => downstream.write_all(&chunk[..length]),
            Some(Answers::Pass | Answers::Reset) => break,
            Some(Answers::Garbage) => {
                let _ = downstream.write_all(b"SMTP/9 maybe\r\n\r\n");
                break;
            }
            Some(Answers::Endless) => {
                let head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(4 << 20));
                let _ = downstream.write_all(head.as_bytes());
                break;
            }
            // Until the other side gives up, and its half of this ends.
            Some(Answers::Nothing) => continue,
        };
        if relayed.is_err() {
            break;
        }
    }
    let _ = downstream.shutdown(Shutdown::Both);
    let _ = upstream.shutdown(Shutdown::Both);
    let _ = to_site.join();
}
