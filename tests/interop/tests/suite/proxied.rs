//! Python services of one or two generations, with `aiomsg proxy` between them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aiomsg_interop::{ActorId, Flags, PATIENCE, Peer, Program, Stage};

const MESSAGES: usize = 500;

/// A proxy with two workers at its back.
struct Proxied {
    stage: Stage,
    proxy: ActorId,
    front: u16,
    workers: [ActorId; 2],
}

impl Proxied {
    fn start(workers: Peer) -> Self {
        let mut stage = Stage::new();
        let ends = ["proxy", "--front", "127.0.0.1:0", "--back", "127.0.0.1:0"];
        let proxy = stage.start_with(Program::Command, &ends);
        let port = |note| {
            let address = stage.wait_note(proxy, note);
            address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("an address has a port")
        };
        let (back, front) = (port("back listening "), port("front listening "));
        let workers = [(); 2].map(|()| stage.connect(Program::Peer(workers), back, &Flags::endless_sink()));
        for worker in workers {
            let _ = stage.wait_note(worker, "event: connected");
        }
        Self { stage, proxy, front, workers }
    }

    fn create(&mut self, creator: Peer, flags: &Flags) -> ActorId {
        self.stage.connect(Program::Peer(creator), self.front, flags)
    }

    /// Waits until the workers together have all of these; at-least-once may bring some twice.
    fn wait_taken(&self, wanted: &BTreeSet<String>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let taken = self.workers.map(|worker| self.stage.output(worker));
            let all: BTreeSet<String> = taken.iter().flatten().cloned().collect();
            if all == *wanted {
                assert!(taken.iter().all(|lines| !lines.is_empty()), "both work");
                return;
            }
            assert!(Instant::now() < deadline, "{} of {} have arrived", all.len(), wanted.len());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(mut self) {
        self.stage.signal(self.proxy, "-TERM");
        let _ = self.stage.finish(self.proxy);
    }
}

fn numbered<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let one = |prefix: &'a str| (0..MESSAGES).map(move |number| format!("{prefix}{number}"));
    prefixes.into_iter().flat_map(one).collect()
}

/// Two creators of one package, two workers of another.
fn through_proxy(creators: Peer, workers: Peer, delivery: &str) {
    let mut proxied = Proxied::start(workers);
    let creators = ["a", "b"]
        .map(|prefix| proxied.create(creators, &Flags::source(prefix, MESSAGES).with("delivery", delivery)));
    proxied.wait_taken(&numbered(["a", "b"]));
    for creator in creators {
        let _ = proxied.stage.finish(creator);
    }
    proxied.stop();
}

#[test]
fn what_a_worker_acknowledges_is_acknowledged_to_its_creator() {
    let mut proxied = Proxied::start(Peer::Classic2019_12_3);
    let creator = proxied.create(Peer::V1_2026_7_1, &Flags::certain_source(MESSAGES));
    let acknowledged: BTreeSet<String> = proxied.stage.finish(creator).into_iter().collect();
    assert_eq!(acknowledged, numbered([""]));
    proxied.wait_taken(&acknowledged);
    proxied.stop();
}

macro_rules! tests_of_proxy {
    ($($name:ident: $creators:ident, $workers:ident;)*) => {
        $(
            mod $name {
                use super::{Peer, through_proxy};

                #[test]
                fn at_most_once() {
                    through_proxy(Peer::$creators, Peer::$workers, "at-most-once");
                }

                #[test]
                fn at_least_once() {
                    through_proxy(Peer::$creators, Peer::$workers, "at-least-once");
                }
            }
        )*
    };
}

tests_of_proxy! {
    v1: V1_2026_7_1, V1_2026_7_1;
    classic: Classic2019_12_3, Classic2019_12_3;
    classic_text: ClassicText2019_4_5, ClassicText2019_4_5;
    from_v1_to_classic: V1_2026_7_1, Classic2019_12_3;
    from_classic_to_v1: Classic2019_12_3, V1_2026_7_1;
}
