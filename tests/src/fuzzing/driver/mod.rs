//! The driver on connections in memory that do what the input says, beside a well-behaved peer.

mod link;
mod world;

use core::pin::pin;
use core::time::Duration;

use aiomsg_driver::Handle;
use aiomsg_proto::{Config, Limit, SlowPeer, Socket};
use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::Bytes;

use self::link::{Fake, Pipe};
use self::world::World;
use super::speech::{Speech, identity};

/// What happens to the server and its strangers.
#[derive(Arbitrary, Debug)]
enum Deed {
    Come,
    Say(u8, Speech),
    /// The stranger writes nothing more.
    Finish(u8),
    /// Reading or writing fails from now on.
    Fail(u8),
    /// So many bytes can be written to it in all.
    Accept(u8, u16),
    /// It takes or gives so many bytes at a time, and is not ready in between.
    Hesitate(u8, u8),
    Send(Vec<u8>),
    SendTo(u8, Vec<u8>),
    /// A call to receive that is given up at once.
    Receive,
    /// So many milliseconds pass.
    Pass(u16),
}

/// Tasks are not polled more often than this, whatever happens.
const MOST_POLLS: u64 = 50_000;

fn handle(world: &World, number: u8, config: Config) -> Handle {
    let core = Socket::new(config, identity(number), number.into(), world.now()).expect("valid settings");
    let handle = Handle::new(core, world.clock());
    world.spawn(handle.timer_driver(world.timer()));
    handle
}

/// Whatever connections do, the friend is served, nothing spins, and closing ends.
pub(super) fn driver(input: &mut Unstructured<'_>) -> Result<()> {
    let world = World::default();
    let config = Config::default()
        .max_message(2_000)
        .send_buffer(Limit::new(50, 10_000))
        .receive_buffer(Limit::new(50, 10_000))
        .peer_queue(Limit::new(30, 5_000))
        .slow_peer(*input.choose(&[SlowPeer::DropNewest, SlowPeer::Disconnect])?);
    let server = handle(&world, 0xee, config);
    let friend = handle(&world, 0xff, Config::default());
    let acceptor = server.listen("here").expect("open");
    let (_, dialer) = friend.dial("there").expect("open");
    world.run();
    let (near, far) = Fake::pair();
    world.spawn(dialer.connected(near, "there").expect("it was due"));
    world.spawn(acceptor.accepted(far, "friend").expect("there is room"));
    world.run();
    assert_eq!(server.peers().len(), 1);

    let mut strangers: Vec<[Pipe; 2]> = Vec::new();
    for deed in input.arbitrary_iter::<Deed>()?.take(60) {
        let deed = deed?;
        if matches!(deed, Deed::Come) || strangers.is_empty() {
            let (near, far) = Fake::pair();
            strangers.push(near.pipes());
            world.spawn_some(acceptor.accepted(far, "stranger"));
        }
        play(&world, &server, &strangers, deed);
        world.run();
        let metrics = server.metrics();
        for held in [metrics.send_held, metrics.receive_held] {
            assert!(held.messages <= 50 && held.bytes <= 10_000, "{metrics:?}");
        }
    }
    for [incoming, outgoing] in &strangers {
        incoming.fail();
        outgoing.fail();
    }
    assert_friend_is_served(&world, &server, &friend);
    drop((acceptor, dialer));
    for socket in [server, friend] {
        world.finish(pin!(socket.close_within(Duration::from_secs(1))));
    }
    assert!(world.polls() < MOST_POLLS, "{} polls", world.polls());
    Ok(())
}

fn play(world: &World, server: &Handle, strangers: &[[Pipe; 2]], deed: Deed) {
    let who = |number: u8| &strangers[usize::from(number) % strangers.len()];
    // The first pipe is what the server writes, the second what it reads.
    match deed {
        Deed::Come => {}
        Deed::Say(number, speech) => who(number)[1].push(&speech.bytes()),
        Deed::Finish(number) => who(number)[1].end(),
        Deed::Fail(number) => who(number).iter().for_each(Pipe::fail),
        Deed::Accept(number, bytes) => who(number)[0].set_capacity(bytes.into()),
        Deed::Hesitate(number, most) => who(number).iter().for_each(|pipe| pipe.set_most(most.into())),
        // There may be no room.
        Deed::Send(payload) => drop(server.try_send(payload)),
        Deed::SendTo(number, payload) => drop(server.try_send_to(identity(number), payload)),
        Deed::Receive => drop(world.poll_once(pin!(server.recv()))),
        Deed::Pass(millis) => world.pass(Duration::from_millis(millis.into())),
    }
}

fn assert_friend_is_served(world: &World, server: &Handle, friend: &Handle) {
    // All that strangers have said is taken first.
    world.pass(Duration::from_secs(1));
    while let Ok(Some(_)) = server.try_recv() {
        world.run();
    }
    let message = Bytes::from_static(b"for the friend alone");
    while friend.try_recv().expect("open").is_some() {}
    server.try_send_to(friend.identity(), message.clone()).expect("there is room");
    friend.try_send(message.clone()).expect("there is room");
    world.pass(Duration::from_millis(10));
    let received = server.try_recv().expect("open").expect("the friend said something");
    assert_eq!((received.identity, &received.payload), (friend.identity(), &message));
    // What was sent to anybody came before.
    let mut last = None;
    while let Some(received) = friend.try_recv().expect("open") {
        last = Some(received.payload);
    }
    assert_eq!(last, Some(message));
}
