//! Certificates made by `openssl`, and clients of TLS that are not ours.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::folder::Folder;
use super::inside::await_that;

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Key {
    pub const ALL: [Self; 4] = [Self::Rsa, Self::P256, Self::P384, Self::Ed25519];

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Rsa => &["-newkey", "rsa:2048"],
            Self::P256 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::P384 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
            Self::Ed25519 => &["-newkey", "ed25519"],
        }
    }
}

/// An authority of the test's own, and what it has issued.
pub struct Authority {
    folder: Folder,
    name: String,
}

/// The files of a certificate.
#[derive(Clone, Debug)]
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let folder = Folder::new("authority");
        let authority = Self { folder, name: name.to_owned() };
        let (certificate, key) = (authority.path("ca.pem"), authority.path("ca.key"));
        openssl(
            Command::new("openssl")
                .args(["req", "-x509", "-nodes", "-days", "30", "-subj", &format!("/CN={name}")])
                .args(Key::P256.arguments())
                .arg("-out")
                .arg(certificate)
                .arg("-keyout")
                .arg(key),
        );
        authority
    }

    /// What clients that trust it are given.
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A file of its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for names, as in `DNS:a.test`, for 20 days.
    pub fn issue(&self, file: &str, names: &[&str]) -> Issued {
        self.issue_as(file, names, Key::P256, 20)
    }

    /// The same with a key of some kind, and for so many days; 0: it has just expired.
    pub fn issue_as(&self, file: &str, names: &[&str], key: Key, days: u32) -> Issued {
        let issued = Issued {
            certificate: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        };
        let (request, extensions) = (self.path("request"), self.path("extensions"));
        openssl(
            Command::new("openssl")
                .args(["req", "-nodes", "-subj", &format!("/CN={file} of {}", self.name)])
                .args(key.arguments())
                .arg("-out")
                .arg(&request)
                .arg("-keyout")
                .arg(&issued.key),
        );
        let names = match names {
            [] => String::new(),
            names => format!("subjectAltName={}\n", names.join(",")),
        };
        fs::write(&extensions, format!("basicConstraints=CA:FALSE\n{names}")).expect("it is ours");
        openssl(
            Command::new("openssl")
                .args(["x509", "-req", "-days", &days.to_string(), "-CAcreateserial", "-CA"])
                .arg(self.certificate())
                .arg("-CAkey")
                .arg(self.path("ca.key"))
                .arg("-in")
                .arg(&request)
                .arg("-extfile")
                .arg(&extensions)
                .arg("-out")
                .arg(&issued.certificate),
        );
        if days == 0 {
            // Its last second is the one in which it was made.
            await_that("it does not expire", || issued.has_expired());
        }
        issued
    }
}

impl Issued {
    /// Whether its last second is over: to openssl it has expired in that one already.
    fn has_expired(&self) -> bool {
        let status = Command::new("openssl")
            .args(["x509", "-noout", "-checkend", "-1", "-in"])
            .arg(&self.certificate)
            .stdout(Stdio::null())
            .status();
        !status.expect("openssl runs").success()
    }

    /// As one of `certificates` in `[tls]`.
    pub fn entry(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!("{{ certificate = '{certificate}', key = '{key}' }}")
    }

    /// Its serial number, in hexadecimal.
    pub fn serial(&self) -> String {
        let out = openssl(
            Command::new("openssl")
                .args(["x509", "-noout", "-serial", "-in"])
                .arg(&self.certificate),
        );
        out.trim().trim_start_matches("serial=").to_owned()
    }
}

/// Runs a command that is expected to succeed; what it says.
pub fn openssl(command: &mut Command) -> String {
    let out = command.stdin(Stdio::null()).output().expect("openssl runs");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// `openssl s_client` at an address, with `arguments` and this as input; everything that it says.
pub fn s_client(address: &str, arguments: &[&str], input: &str) -> (Output, String) {
    let mut child = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-connect", address])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    // One that was refused has gone before it reads this.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let out = child.wait_with_output().expect("it ends");
    let mut said = String::from_utf8_lossy(&out.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&out.stderr));
    (out, said)
}

/// `curl` with `arguments`, trusting an authority; its exit code and what it says.
pub fn curl(authority: &Path, arguments: &[&str]) -> (i32, String) {
    let out = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(authority)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("curl runs");
    let mut said = String::from_utf8_lossy(&out.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap_or(-1), said)
}
