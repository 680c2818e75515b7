use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::metrics::tests::snapshot;
use super::*;

/// A process with a clock that the test moves, and tables that take their time.
#[derive(Default)]
struct Slow {
    looks: AtomicU64,
    now_ms: AtomicU64,
    look_ms: AtomicU64,
}

impl Source for Slow {
    fn snapshot(&self) -> Snapshot {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.now_ms.fetch_add(self.look_ms.load(Ordering::Relaxed), Ordering::Relaxed);
        Snapshot::clone(&snapshot(&[]))
    }

    fn now(&self) -> Moment {
        Moment::from_nanos(self.now_ms.load(Ordering::Relaxed) * 1_000_000)
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }
}

fn admin(source: &Arc<Slow>) -> Arc<Admin> {
    let source = Arc::clone(source) as Arc<dyn Source>;
    Arc::new(Admin::new(source, Arc::default()))
}

#[test]
fn many_who_look_cost_one_look_in_a_while() {
    let source = Arc::new(Slow::default());
    let admin = admin(&source);
    let looks = || source.looks.load(Ordering::Relaxed);
    let pass = |ms: u64| source.now_ms.fetch_add(ms, Ordering::Relaxed);
    for _ in 0..1_000 {
        admin.snapshot();
    }
    assert_eq!(looks(), 1);
    pass(200);
    admin.snapshot();
    assert_eq!(looks(), 2);
    // Ten times as long as it took, and five seconds at most.
    for (look, rest) in [(50, 500), (2_000, 5_000)] {
        source.look_ms.store(look, Ordering::Relaxed);
        pass(10_000);
        admin.snapshot();
        let before = looks();
        pass(rest - 1);
        admin.snapshot();
        assert_eq!(looks(), before);
        pass(1);
        admin.snapshot();
        assert_eq!(looks(), before + 1);
    }
}

async fn ask(client: &mut DuplexStream) -> String {
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write_all(request).await.expect("it reads");
    let mut said = Vec::new();
    while !said.ends_with(b"alive\n") {
        let read = client.read_buf(&mut said).await.expect("it answers");
        assert!(read > 0, "cut after {:?}", String::from_utf8_lossy(&said));
    }
    String::from_utf8(said).expect("UTF-8")
}

/// As at an upgrade: who was accepted just before has its answer, and looks elsewhere then.
#[tokio::test]
async fn at_the_end_who_has_just_come_is_answered_and_who_is_idle_goes() {
    let admin = admin(&Arc::default());
    let connect = || {
        let (client, server) = duplex(64 << 10);
        tokio::spawn(Arc::clone(&admin).serve(server));
        client
    };
    let (mut new, mut idle) = (connect(), connect());
    assert!(!ask(&mut idle).await.contains("connection: close"));
    let ending = tokio::spawn({
        let admin = Arc::clone(&admin);
        async move { admin.end().await }
    });
    assert_eq!(idle.read(&mut [0]).await.expect("an end"), 0);
    assert!(!ending.is_finished(), "one is still there");
    assert!(ask(&mut new).await.contains("connection: close"));
    assert_eq!(new.read(&mut [0]).await.expect("an end"), 0);
    ending.await.expect("it ends");
}
