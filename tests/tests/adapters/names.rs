//! Names with several addresses, and addresses that change: by a resolver that says what the test wants.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use aiomsg_driver::{Clock, Runtime, Socket};
use aiomsg_proto::{Event, Instant};
use aiomsg_tests::free_address;

use crate::support::{Adapter, bind, event, socket, within};

/// A runtime that answers with one list of addresses after another, and with the last one from then on.
#[derive(Clone, Debug)]
struct Scripted<R> {
    runtime: R,
    answers: Arc<Mutex<Vec<Vec<SocketAddr>>>>,
    /// Each connection seems to have been made to itself.
    mirrored: bool,
}

impl<R: Adapter> Scripted<R> {
    fn socket(answers: Vec<Vec<SocketAddr>>) -> Socket<Self> {
        let runtime = R::current().expect("inside a runtime");
        let scripted = Self { runtime, answers: Arc::new(Mutex::new(answers)), mirrored: false };
        Socket::builder().runtime(scripted).build().expect("defaults")
    }

    fn mirrored_socket() -> Socket<Self> {
        let runtime = R::current().expect("inside a runtime");
        let mirrored = Self { runtime, answers: Arc::default(), mirrored: true };
        Socket::builder().runtime(mirrored).build().expect("defaults")
    }
}

impl<R: Clock> Clock for Scripted<R> {
    fn now(&self) -> Instant {
        self.runtime.now()
    }
}

impl<R: Runtime> Runtime for Scripted<R> {
    type Link = R::Link;
    type Listener = R::Listener;
    type Timer = R::Timer;

    fn current() -> Option<Self> {
        None
    }

    fn id(&self) -> Option<u64> {
        self.runtime.id()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    fn timer(&self) -> R::Timer {
        self.runtime.timer()
    }

    async fn resolve(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        let mut answers = self.answers.lock().expect("no test panics with the lock");
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers.first().cloned().unwrap_or_default() })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<(R::Link, SocketAddr)> {
        let (link, own) = self.runtime.connect(address).await?;
        Ok((link, if self.mirrored { address } else { own }))
    }

    fn listen(&self, address: SocketAddr) -> io::Result<R::Listener> {
        self.runtime.listen(address)
    }
}

async fn a_dead_first_address_is_passed_over<R: Adapter>() {
    let (dead, _reserved) = free_address();
    let server = socket::<R>();
    let live = bind(&server).await;
    let client = Scripted::<R>::socket(vec![vec![dead, live]]);
    client.connect("name:1").expect("an address");
    within("a peer", client.wait_for_peers(1)).await.expect("open");
    assert_eq!(client.metrics().dial_attempts, 1);
    assert_eq!(*client.peers()[0].address, live.to_string());
}

/// Nobody answers at an address that is reserved for documentation, so the next one is tried after a quarter of a
/// second.
async fn an_address_that_does_not_answer_is_passed_over<R: Adapter>() {
    let server = socket::<R>();
    let live = bind(&server).await;
    let silent = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9));
    let client = Scripted::<R>::socket(vec![vec![silent, live]]);
    client.connect("name:1").expect("an address");
    within("a peer", client.wait_for_peers(1)).await.expect("open");
    assert_eq!(client.metrics().dial_attempts, 1);
}

async fn the_cause_is_told_when_no_address_answers<R: Adapter>() {
    let (dead, _reserved) = free_address();
    let client = Scripted::<R>::socket(vec![vec![dead, dead], vec![]]);
    let mut events = client.events();
    client.connect("name:1").expect("an address");
    for expected in ["refused", "no addresses"] {
        let told = event(&mut events, "retrying", |event| matches!(event, Event::Retrying { .. })).await;
        let Event::Retrying { cause: Some(cause), .. } = told else { panic!("{told:?}") };
        assert!(cause.contains(expected), "{cause}");
    }
}

async fn a_name_is_resolved_at_each_attempt<R: Adapter>() {
    let (dead, _reserved) = free_address();
    let server = socket::<R>();
    let address = bind(&server).await;
    let client = Scripted::<R>::socket(vec![vec![dead], vec![address]]);
    client.connect("name:1").expect("an address");
    within("a peer", client.wait_for_peers(1)).await.expect("open");
    assert_eq!(client.metrics().dial_attempts, 2);
}

/// Where nobody listens, the system may draw the very port that is dialled, and connect a socket to itself.
async fn a_connection_to_itself_is_none<R: Adapter>() {
    let server = socket::<R>();
    let client = Scripted::<R>::mirrored_socket();
    let mut events = client.events();
    client.connect(bind(&server).await).expect("an address");
    let told = event(&mut events, "retrying", |event| matches!(event, Event::Retrying { .. })).await;
    let Event::Retrying { cause: Some(cause), .. } = told else { panic!("{told:?}") };
    assert!(cause.contains("refused"), "{cause}");
    assert_eq!(client.metrics().connected, 0);
}

on_both! {
    async a_dead_first_address_is_passed_over, an_address_that_does_not_answer_is_passed_over,
        the_cause_is_told_when_no_address_answers, a_name_is_resolved_at_each_attempt,
        a_connection_to_itself_is_none;
}
