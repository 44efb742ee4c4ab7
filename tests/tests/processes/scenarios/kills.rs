//! A receiving process that is killed and started again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::api::{DeliveryGuarantee, Socket};

use super::child::Actor;
use super::support::{runtime, tell, wait_until, within};

const MESSAGES: usize = 100_000;
const KILLS: usize = 10;

/// The most that may be unacknowledged at one peer.
const WINDOW: usize = 4_096;

/// The workers' lives: what each printed.
#[derive(Debug, Default)]
struct Lives {
    printed: Vec<BTreeSet<usize>>,
    twice_in_one_life: usize,
    all: BTreeMap<usize, usize>,
}

impl Lives {
    fn note(&mut self, line: &str) {
        let number = line.parse().expect("a number");
        let life = self.printed.last_mut().expect("somebody printed it");
        self.twice_in_one_life += usize::from(!life.insert(number));
        *self.all.entry(number).or_default() += 1;
    }
}

#[test]
fn a_receiver_that_is_killed_again_and_again_gets_everything() {
    let runtime = runtime();
    let start = Instant::now();
    let (socket, address) = runtime.block_on(async {
        let socket =
            Socket::builder().delivery(DeliveryGuarantee::AtLeastOnce).build().expect("valid settings");
        let address = socket.bind("127.0.0.1:0").await.expect("a free port");
        (socket, address)
    });
    let sender = socket.clone();
    let sending = runtime.spawn(async move {
        for number in 0..MESSAGES {
            sender.send(number.to_string()).await.expect("it is open");
        }
    });
    let mut lives = Lives::default();
    for life in 0..=KILLS {
        let worker = Actor::start(&format!("worker {address}"));
        lives.printed.push(BTreeSet::new());
        let enough = if life == KILLS { MESSAGES } else { (life + 1) * MESSAGES / (KILLS + 1) };
        while lives.all.len() < enough {
            lives.note(&worker.line().expect("it goes on until it is killed"));
        }
        if life < KILLS {
            for line in worker.kill() {
                lives.note(&line);
            }
        } else {
            // The last acknowledgements are on their way.
            runtime.block_on(async {
                within("all is sent", sending).await.expect("no panic");
                wait_until("all is acknowledged", || socket.metrics().send_held.messages == 0).await;
            });
            break;
        }
    }
    let metrics = socket.metrics();
    let repeated = lives.all.values().filter(|count| **count > 1).count();
    tell(&format!(
        "{MESSAGES} messages, {KILLS} kills, {:?}: {repeated} printed more than once, {} sent again",
        start.elapsed(),
        metrics.resent.messages
    ));
    assert_eq!(lives.all.len(), MESSAGES, "everything was printed");
    assert_eq!(lives.twice_in_one_life, 0);
    assert_eq!(metrics.acknowledged.messages, MESSAGES);
    // A message is printed again only if its printer was killed before the acknowledgement got through.
    assert!(repeated <= metrics.resent.messages && metrics.resent.messages <= KILLS * WINDOW, "{metrics:?}");
    for (number, count) in lives.all.iter().filter(|(_, count)| **count > 1) {
        let by = lives.printed.iter().filter(|life| life.contains(number)).count();
        assert_eq!(by, *count, "each time by another life");
    }
    let report = runtime.block_on(socket.close_within(Duration::from_secs(5)));
    assert_eq!(report.dropped.messages, 0);
}
