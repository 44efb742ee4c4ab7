//! The agent, on each runtime, against each of the published Python packages,
//! by name, and against all of them at once; and the client of the protocol's
//! document against a socket.

mod all_peers;
mod delivery;
mod demos;
mod protocol;
mod proxied;
mod scenarios;

macro_rules! tests_of_link {
    ($link:expr; $($name:ident: $scenario:ident($($argument:expr),*);)*) => {
        use aiomsg_interop::{Peer, Role, Runtime};

        use crate::scenarios::{self, Link, Side::Agent, Side::Peer as Other};

        $(
            #[test]
            fn $name() {
                scenarios::$scenario($link $(, $argument)*);
            }
        )*
    };
    ($runtime:expr, $peer:expr, $role:expr) => {
        tests_of_link! {
            Link { runtime: $runtime, peer: $peer, agent_role: $role };
            publish_to_sink: publish(Agent);
            publish_from_source: publish(Other);
            roundrobin_to_sink: roundrobin(Agent);
            roundrobin_from_source: roundrobin(Other);
            at_least_once_to_sink: at_least_once(Agent);
            at_least_once_from_source: at_least_once(Other);
            large_messages_to_sink: large(Agent);
            large_messages_from_source: large(Other);
            buffered_before_sink_exists: buffered(Agent);
            buffered_before_agent_exists: buffered(Other);
            identity_reply_by_peer: echo(Agent, None);
            identity_reply_by_agent: echo(Other, None);
            explicit_dialect_both_ways: explicit_dialect();
            heartbeats_over_20_s_idle: idle();
            peer_sink_restarts: sink_restarts(Agent);
            agent_sink_restarts: sink_restarts(Other);
            agent_source_restarts: source_restarts(Agent);
            peer_source_restarts: source_restarts(Other);
            at_least_once_survives_peer_sink_restart: sink_restarts_without_loss(Agent);
            at_least_once_survives_agent_sink_restart: sink_restarts_without_loss(Other);
        }
    };
}

macro_rules! tests_of_peers {
    ($runtime:expr; $($module:ident: $peer:expr;)*) => {
        $(
            mod $module {
                mod agent_binds {
                    tests_of_link!($runtime, $peer, Role::Bind);
                }
                mod agent_connects {
                    tests_of_link!($runtime, $peer, Role::Connect);
                }
            }
        )*
    };
}

macro_rules! tests_of_demo {
    ($runtime:expr, $peer:expr; $($name:ident: $direction:ident($role:expr);)*) => {
        use aiomsg_interop::{Peer, Role, Runtime};

        use crate::demos::{self, Demo};

        $(
            #[test]
            fn $name() {
                demos::$direction(Demo { runtime: $runtime, peer: $peer, server_role: $role });
            }
        )*
    };
    ($runtime:expr, $peer:expr) => {
        tests_of_demo! {
            $runtime, $peer;
            rust_server_binds: rust_to_python(Role::Bind);
            rust_server_connects: rust_to_python(Role::Connect);
            python_server_binds: python_to_rust(Role::Bind);
            python_server_connects: python_to_rust(Role::Connect);
        }
    };
}

macro_rules! tests_of_demos {
    ($runtime:expr; $($module:ident: $peer:expr;)*) => {
        mod demo {
            $(
                mod $module {
                    tests_of_demo!($runtime, $peer);
                }
            )*
        }
    };
}

macro_rules! tests_of_all_peers {
    ($runtime:expr; $($name:ident,)*) => {
        mod all_peers {
            use aiomsg_interop::Runtime;

            $(
                #[test]
                fn $name() {
                    crate::all_peers::$name($runtime);
                }
            )*
        }
    };
}

macro_rules! tests_on {
    ($runtime:ident as $module:ident: $($peers:tt)*) => {
        mod $module {
            tests_of_peers! { Runtime::$runtime; $($peers)* }
            tests_of_demos! { Runtime::$runtime; $($peers)* }
            tests_of_all_peers! {
                Runtime::$runtime;
                publish_to_every_sink,
                roundrobin_shares_between_all_sinks,
                sources_of_all_peers_to_one_sink,
                identity_replies_to_each_requester,
            }
        }
    };
}

tests_on! {
    Tokio as tokio:
    v1_2026_7_1: Peer::V1_2026_7_1;
    classic_2019_12_3: Peer::Classic2019_12_3;
    classic_text_2019_4_5: Peer::ClassicText2019_4_5;
}

// A peer's dialect and its habits meet the core, which is the same on each
// runtime. What a runtime brings are connections, timers and tasks, and these
// meet every scenario in both roles with any one peer: here the one that starts
// fastest. The others are met in the fleet of `all_peers`.
tests_on! {
    Smol as smol:
    v1_2026_7_1: Peer::V1_2026_7_1;
}
