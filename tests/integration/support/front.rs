//! Genuine proxies in front of Floodwall, and behind it: nginx, HAProxy and Apache.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::folder::Folder;
use super::load::Target;

const DEADLINE: Duration = Duration::from_secs(20);

/// A proxy that runs. Killed with the test.
pub struct Front {
    child: Child,
    address: SocketAddr,
}

impl Front {
    /// nginx with this in its `http` block, which listens on `address`.
    pub fn nginx(folder: &Folder, address: SocketAddr, http: &str) -> Self {
        let place = folder.path().display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String =
            kinds.iter().map(|kind| format!("{kind}_temp_path {place}/nginx-{kind};\n")).collect();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {place}/nginx.pid;\nerror_log stderr;\n\
             events {{}}\nhttp {{\naccess_log off;\n{temporary}{http}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).expect("the configuration can be written");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-e").arg("stderr").arg("-c").arg(file);
        Self::start(command, folder, "nginx", address)
    }

    /// Apache's httpd, which listens on `address`, with this behind its modules and paths.
    pub fn apache(folder: &Folder, address: SocketAddr, directives: &str) -> Self {
        let place = folder.path().display();
        let modules: String = ["mpm_event", "authz_core"]
            .iter()
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .collect();
        let configuration = format!(
            "ServerName localhost\nListen {address}\nPidFile {place}/apache.pid\nErrorLog /dev/stderr\n\
             Mutex file:{place}\n{modules}DocumentRoot {place}\n{directives}\n"
        );
        let file = folder.path().join("apache.conf");
        fs::write(&file, configuration).expect("the configuration can be written");
        let mut command = Command::new("apache2");
        command.arg("-X").arg("-f").arg(file).arg("-d").arg(folder.path());
        Self::start(command, folder, "apache2", address)
    }

    /// HAProxy with these sections, of which one listens on `address`.
    pub fn haproxy(folder: &Folder, address: SocketAddr, sections: &str) -> Self {
        let configuration = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  \
             timeout server 30s\n{sections}"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, configuration).expect("the configuration can be written");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        Self::start(command, folder, "haproxy", address)
    }

    fn start(mut command: Command, folder: &Folder, name: &str, address: SocketAddr) -> Self {
        let log = folder.path().join(format!("{name}.log"));
        let stderr = File::create(&log).expect("a log");
        let path = std::env::var("PATH").unwrap_or_default();
        let child = command
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; remedy: tests/tools/provision"));
        let mut front = Self { child, address };
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(address).is_err() {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = front.child.try_wait().expect("it can be waited for") {
                panic!("{name} ended with {status}: {}", said());
            }
            assert!(Instant::now() < deadline, "{name} does not listen: {}", said());
            thread::yield_now();
        }
        front
    }

    /// Where it listens.
    pub fn target(&self) -> Target {
        Target::new(self.address).expect("it listens on loopback")
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
