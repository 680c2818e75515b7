//! Starting, running and stopping: threads, listening sockets, signals, drain.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::checks;
use super::control::{Control, ControlError, Order};
use super::core::{App, Core};
use super::ending::Ending;
use super::orders::{self, EarlySignals, Orders};
use super::passed::{Passed, PassedSocket};
use super::settings::{DoorAddress, DoorKind};
use super::socket::{Listener, Listening};
use super::unix::SocketFile;
use super::upgrade::{Event, Replacement, UNDER_WAY};
use super::watched::Watched;
use super::{listen, outbox, supervisor};
use crate::admin::{Admin, Source};

/// Orders that wait to be obeyed.
const ORDERS: usize = 16;

/// The permissions of the admin listener's Unix sockets.
const ADMIN_MODE: u32 = 0o600;

/// Idle connections are looked through this often at most.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// What a process hears while it starts: a reload or a rotation of logs that comes then waits until it
/// serves.
pub struct Ear {
    runtime: Runtime,
    signals: EarlySignals,
}

impl Ear {
    /// To be called before anything that takes time.
    pub fn open() -> Result<Self, RunError> {
        let runtime = runtime()?;
        let signals = {
            let _context = runtime.enter();
            EarlySignals::caught().map_err(RunError::Signals)?
        };
        Ok(Self { runtime, signals })
    }
}

/// Listens, serves until SIGTERM or SIGINT, drains, and returns when nothing runs any more. A
/// second signal ends at once. SIGHUP reloads; SIGUSR1 has a line written that says how the guard
/// stands, and the access log opened anew.
pub fn run(app: Arc<App>, passed: Passed, orders: &Orders<'_>, ear: Ear) -> Result<(), RunError> {
    let Ear { runtime: control, signals } = ear;
    let mut signals = {
        let _context = control.enter();
        signals.and_those_that_end().map_err(RunError::Signals)?
    };
    let bound = Bound::new(Arc::clone(&app), passed)?;
    let mut socket = (orders.control)().map_err(RunError::Control)?;
    let running = bound.start()?;
    for address in running.addresses() {
        tracing::info!(%address, "listening");
    }
    (orders.serving)().map_err(RunError::Runtime)?;
    running.own_files();
    supervisor::tell(&[NotifyState::Ready]);
    let mut replacement = Replacement::default();
    control.block_on(async {
        let (events, mut happened) = mpsc::unbounded_channel();
        // Kept, so that a channel that nobody uses stays open.
        let (sender, mut told) = mpsc::channel(ORDERS);
        if let Some(control) = &socket {
            let listener = control.listener().map_err(RunError::Runtime)?;
            tokio::spawn(Control::serve(listener, sender.clone()));
        }
        loop {
            tokio::select! {
                _ = signals.usr1.recv() => {
                    app.access.reopen();
                    app.refusals.reopen();
                    orders::tell_status(&app);
                }
                _ = signals.hup.recv() => {
                    if replacement.is_under_way() {
                        tracing::error!("not reloaded: {UNDER_WAY}");
                    } else {
                        let _ = orders::reload(orders);
                    }
                }
                Some(order) = told.recv() => match order.word() {
                    "upgrade" => replacement.upgrade(order, &app, orders, &events),
                    "take-over" => replacement.hand_over(order, &app, &running, &events),
                    "reload" if replacement.is_under_way() => {
                        tokio::spawn(order.refuse(UNDER_WAY));
                    }
                    _ => orders::obey(order, &app, orders),
                },
                Some(event) = happened.recv() => {
                    let failed = matches!(event, Event::Serving(false));
                    if replacement.happened(event).await {
                        break;
                    }
                    if failed {
                        socket = restored(socket, orders, &sender);
                    }
                }
                _ = signals.term.recv() => break,
                _ = signals.int.recv() => break,
                () = running.ended() => return Ok(()),
            }
        }
        tracing::info!("draining");
        if replacement.is_done() {
            running.yield_to_successor();
        } else {
            supervisor::tell(&[NotifyState::Stopping]);
            running.stop();
        }
        loop {
            tokio::select! {
                _ = signals.usr1.recv() => {
                    app.access.reopen();
                    app.refusals.reopen();
                    orders::tell_status(&app);
                }
                _ = signals.term.recv() => running.abort(),
                _ = signals.int.recv() => running.abort(),
                () = running.ended() => return Ok(()),
            }
        }
    })?;
    let cut = running.wait()?;
    replacement.finish();
    tracing::info!(exchanges_cut = cut, "drained");
    Ok(())
}

/// The control socket, after a successor has failed that may have put its own in its place.
fn restored(
    socket: Option<Control>,
    orders: &Orders<'_>,
    sender: &mpsc::Sender<Order>,
) -> Option<Control> {
    let old = socket?;
    if old.is_there() {
        return Some(old);
    }
    let anew = (orders.control)().map_err(|error| error.to_string()).and_then(|anew| {
        let listener = anew.as_ref().map(Control::listener).transpose();
        listener.map(|listener| (anew, listener)).map_err(|error| error.to_string())
    });
    match anew {
        Ok((anew, listener)) => {
            if let Some(listener) = listener {
                tokio::spawn(Control::serve(listener, sender.clone()));
            }
            anew
        }
        Err(error) => {
            tracing::error!(%error, "nothing but signals can tell this process what to do");
            Some(old)
        }
    }
}

/// Sockets that listen; nothing is accepted yet.
#[derive(Debug)]
pub struct Bound {
    app: Arc<App>,
    listeners: Vec<(DoorKind, Listening)>,
    addresses: Vec<DoorAddress>,
    files: Vec<SocketFile>,
    /// Those of a predecessor that nobody listens on any more once this process serves.
    left: Vec<SocketFile>,
    admin: AdminSockets,
}

/// Those of the admin listener. Their files stay until nothing runs any more.
#[derive(Debug, Default)]
struct AdminSockets {
    listeners: Vec<Listening>,
    files: Vec<SocketFile>,
}

impl Bound {
    /// Binds every address that is not among the sockets `passed`, or none.
    pub fn new(app: Arc<App>, mut passed: Passed) -> Result<Self, RunError> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        let mut files = Vec::new();
        let in_force = app.in_force.load_full();
        let settings = &in_force.settings;
        let mut bind = |address: &DoorAddress, unix_mode, key| {
            let failed = |source| RunError::Bind { address: address.clone(), key, source };
            let (listener, file) = match passed.take(address, settings).map_err(failed)? {
                Some(passed) => passed,
                None => {
                    listen::bind(address, &settings.downstream_limits, unix_mode).map_err(failed)?
                }
            };
            let address = listener.address().map_err(failed)?;
            Ok::<_, RunError>((listener, file, address))
        };
        for door in &settings.doors {
            let (listener, file, address) = bind(&door.address, settings.unix_mode, "listen")?;
            addresses.push(address);
            listeners.push((door.kind, listener));
            files.extend(file);
        }
        let mut admin = AdminSockets::default();
        for address in &settings.admin {
            let (listener, file, address) = bind(address, ADMIN_MODE, "admin.listen")?;
            tracing::info!(%address, "admin listens");
            admin.listeners.push(listener);
            admin.files.extend(file);
        }
        if let Some(address) = passed.left() {
            return Err(RunError::Passed { address });
        }
        let left = passed.left_files();
        Ok(Self { app, listeners, addresses, files, left, admin })
    }

    /// Starts a thread for each core. All accept from the same sockets.
    pub fn start(self) -> Result<Running, RunError> {
        let cores = self.app.in_force.load().settings.cores;
        let (phase, _) = watch::channel(Phase::Serving);
        let mut threads = Vec::new();
        for index in 0..cores {
            let runtime = runtime()?;
            let listeners = self.register(&runtime)?;
            let core = Arc::new(Core::new(index, Arc::clone(&self.app)));
            let phase = phase.subscribe();
            let thread = thread::Builder::new()
                .name(format!("core-{index}"))
                .spawn(move || {
                    let cut = runtime.block_on(serve(&core, listeners, phase.clone()));
                    core.app.pulses.end(core.index);
                    // Everything that still runs is dropped here; a name lookup that hangs in a
                    // blocking thread is not waited for.
                    runtime.shutdown_background();
                    drop(phase);
                    cut
                })
                .map_err(RunError::Runtime)?;
            threads.push(thread);
        }
        let watched = self.watched()?;
        let Self { app, listeners, addresses, files, left, admin } = self;
        let sockets = listeners.into_iter().map(|(_, socket)| socket);
        let sockets = Mutex::new(sockets.chain(admin.listeners).collect());
        let admin_files = admin.files;
        Ok(Running { app, threads, watched, phase, addresses, files, admin_files, left, sockets })
    }

    /// The thread of the admin listener, where there is one.
    fn watched(&self) -> Result<Option<Watched>, RunError> {
        if self.admin.listeners.is_empty() {
            return Ok(None);
        }
        let runtime = runtime()?;
        let listeners = {
            let _context = runtime.enter();
            self.admin.listeners.iter().map(Listening::register).collect::<io::Result<_>>()
        };
        let source: Arc<dyn Source> = Arc::clone(&self.app) as Arc<dyn Source>;
        let admin = Arc::new(Admin::new(source, Arc::clone(&self.app.admin_token)));
        let started = listeners.and_then(|listeners| Watched::start(runtime, listeners, admin));
        started.map(Some).map_err(RunError::Runtime)
    }

    fn register(&self, runtime: &Runtime) -> Result<Vec<(DoorKind, Listener)>, RunError> {
        let _context = runtime.enter();
        self.listeners
            .iter()
            .map(|(kind, listener)| Ok((*kind, listener.register()?)))
            .collect::<io::Result<_>>()
            .map_err(RunError::Runtime)
    }
}

/// How far the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Nothing is accepted; what runs may end.
    Draining,
    /// The same, and idle connections are not closed at once: their clients might just be sending.
    Yielding,
    /// Nothing is waited for.
    Aborted,
}

/// Threads that serve.
#[derive(Debug)]
pub struct Running {
    app: Arc<App>,
    threads: Vec<JoinHandle<usize>>,
    watched: Option<Watched>,
    phase: watch::Sender<Phase>,
    addresses: Vec<DoorAddress>,
    files: Vec<SocketFile>,
    admin_files: Vec<SocketFile>,
    left: Vec<SocketFile>,
    /// For a successor, until this process stops.
    sockets: Mutex<Vec<Listening>>,
}

impl Running {
    /// Takes the files of sockets over from a predecessor, and removes those that are used no more.
    fn own_files(&self) {
        for file in self.files.iter().chain(&self.admin_files).chain(&self.left) {
            file.own();
        }
        self.left.iter().for_each(SocketFile::remove);
    }

    /// Where it listens; ports that were 0 are what the system gave.
    pub fn addresses(&self) -> &[DoorAddress] {
        &self.addresses
    }

    /// Stops accepting and closes idle connections; what runs may take the drain timeout.
    pub fn stop(&self) {
        self.leave();
        self.phase.send_replace(Phase::Draining);
    }

    /// Ends at once.
    pub fn abort(&self) {
        self.leave();
        self.phase.send_replace(Phase::Aborted);
    }

    /// Stops accepting: a successor does. Who is connected may send one more request on each
    /// connection, as nothing told it not to.
    pub fn yield_to_successor(&self) {
        self.app.draining.store(true, Ordering::Relaxed);
        self.files.iter().chain(&self.admin_files).for_each(SocketFile::leave);
        // Who looks on is to look at the successor.
        self.watched.iter().for_each(Watched::end);
        self.sockets().clear();
        self.phase.send_replace(Phase::Yielding);
    }

    /// The listening sockets, for a successor.
    pub fn pass(&self) -> io::Result<Vec<PassedSocket>> {
        let pass = |socket: &Listening| {
            let listening = socket.try_clone()?;
            let address = listening.address()?;
            let mut files = self.files.iter().chain(&self.admin_files);
            let owns_file = files.any(|file| file.is_at(&address));
            Ok(PassedSocket { listening, owns_file })
        };
        self.sockets().iter().map(pass).collect()
    }

    /// Removes the files of sockets, while these are open still, and closes them.
    fn leave(&self) {
        self.app.draining.store(true, Ordering::Relaxed);
        self.files.iter().for_each(SocketFile::remove);
        self.sockets().clear();
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<Listening>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no core serves any more.
    pub async fn ended(&self) {
        self.phase.closed().await;
    }

    /// Waits for the threads, and says how many exchanges were cut. Nothing runs after it: no
    /// exchange, no exchange without a client, so that what they share can be saved.
    pub fn wait(self) -> Result<usize, RunError> {
        let mut cut = 0;
        for thread in self.threads {
            cut += thread.join().map_err(|_| RunError::Panicked)?;
        }
        self.admin_files.iter().for_each(SocketFile::remove);
        if let Some(watched) = self.watched {
            watched.join().map_err(|_| RunError::Panicked)?;
        }
        Ok(cut)
    }
}

/// One core, from start to end; how many exchanges were cut.
async fn serve(
    core: &Arc<Core>,
    listeners: Vec<(DoorKind, Listener)>,
    mut phase: watch::Receiver<Phase>,
) -> usize {
    // A channel of the core's own: connections look at it at every turn, and cores need not share
    // its lock.
    let (stop, stopped) = watch::channel(Ending::Not);
    let mut accepting = JoinSet::new();
    for (kind, listener) in listeners {
        accepting.spawn(listen::accept(Arc::clone(core), kind, listener, stopped.clone()));
    }
    tokio::spawn(outbox::run());
    tokio::spawn(expire(Arc::clone(core)));
    let lulled = Arc::clone(core);
    tokio::spawn(async move { lulled.speakers.lull(lulled.clock).await });
    if core.index == 0 {
        tokio::spawn(checks::run(Arc::clone(core)));
    }
    // An error says that the `Running` was dropped: that is a stop, too.
    let how = match phase.wait_for(|phase| *phase != Phase::Serving).await.as_deref() {
        Ok(Phase::Yielding) => Ending::Gently,
        Ok(Phase::Serving | Phase::Draining | Phase::Aborted) | Err(_) => Ending::Now,
    };
    // First the sockets, so that who is sent away finds the port closed and not this process again.
    accepting.shutdown().await;
    stop.send_replace(how);
    let settled = async {
        core.connections.emptied().await;
        core.detached.emptied().await;
    };
    tokio::select! {
        biased;
        () = settled => {}
        _ = phase.wait_for(|phase| *phase == Phase::Aborted) => {}
        () = tokio::time::sleep(core.in_force().settings.drain_timeout) => {}
    }
    core.exchanges.number() + core.detached.number()
}

/// Closes connections to the application that have been idle for too long, and shows that the core
/// runs.
async fn expire(core: Arc<Core>) {
    loop {
        core.app.pulses.beat(core.index, core.clock.now());
        let in_force = core.in_force();
        let sites = in_force.sites.all();
        let shortest = sites.iter().map(|site| site.settings.upstream_limits.idle_timeout).min();
        let interval = shortest.map_or(EXPIRY_INTERVAL, |idle_timeout| idle_timeout / 2);
        tokio::time::sleep(interval.clamp(Duration::from_millis(10), EXPIRY_INTERVAL)).await;
        sites.iter().for_each(|site| site.upstream.expire(core.index));
    }
}

fn runtime() -> Result<Runtime, RunError> {
    Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)
}

/// Why the proxy could not run.
#[derive(Debug)]
pub enum RunError {
    /// An address cannot be listened on.
    Bind { address: DoorAddress, key: &'static str, source: io::Error },
    /// A socket was passed that no `listen` names.
    Passed { address: DoorAddress },
    /// A thread, a runtime or its sockets could not be had.
    Runtime(io::Error),
    /// There is no control socket.
    Control(ControlError),
    /// SIGTERM and SIGINT could not be taken over.
    Signals(io::Error),
    /// A thread ended by a panic of our own.
    Panicked,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, key, source } => match remedy(address, key, source.kind()) {
                Some(remedy) => write!(f, "cannot listen on {address}: {remedy}"),
                None => write!(f, "cannot listen on {address}: {source}: correct `{key}`"),
            },
            Self::Passed { address } => write!(
                f,
                "a socket that listens at {address} was passed, which `listen` does not name: name \
                 it there, or take it out of the socket unit"
            ),
            Self::Control(error) => error.fmt(f),
            Self::Runtime(source) => write!(f, "cannot start a thread for each core: {source}"),
            Self::Signals(source) => write!(f, "cannot take over SIGTERM and SIGINT: {source}"),
            Self::Panicked => f.write_str("a core ended by a panic: please report this"),
        }
    }
}

/// What to do where an address cannot be listened on.
fn remedy(address: &DoorAddress, key: &str, kind: io::ErrorKind) -> Option<String> {
    use io::ErrorKind as Kind;
    Some(match (address, kind) {
        (DoorAddress::Tcp(_), Kind::AddrInUse) => {
            format!("the port is in use: stop what listens there, or give `{key}` another")
        }
        (DoorAddress::Tcp(_), Kind::PermissionDenied) => {
            "not permitted: ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()
        }
        (DoorAddress::Tcp(_), Kind::AddrNotAvailable) => {
            format!("no interface has this address: correct `{key}`")
        }
        (DoorAddress::Unix(_), Kind::AddrInUse) => {
            format!("in use by another process: stop it, or give `{key}` another path")
        }
        (DoorAddress::Unix(_), Kind::AlreadyExists) => {
            format!("there is a file that is no socket: move it away, or give `{key}` another path")
        }
        (DoorAddress::Unix(_), Kind::NotFound | Kind::NotADirectory) => {
            format!("there is no such directory: make it, or give `{key}` another path")
        }
        (DoorAddress::Unix(_), Kind::PermissionDenied | Kind::ReadOnlyFilesystem) => {
            "not permitted: let the user that Floodwall runs as write to the directory".to_owned()
        }
        _ => return None,
    })
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::Runtime(source) | Self::Signals(source) => {
                Some(source)
            }
            Self::Control(error) => Some(error),
            Self::Passed { .. } | Self::Panicked => None,
        }
    }
}
