//! The agent against each of the published Python packages, by name, and
//! against all of them at once.

mod all_peers;
mod delivery;
mod demos;
mod scenarios;

macro_rules! tests_of_link {
    ($link:expr; $($name:ident: $scenario:ident($($argument:expr),*);)*) => {
        use aiomsg_interop::{Peer, Role};

        use crate::scenarios::{self, Link, Side::Agent, Side::Peer as Other};

        $(
            #[test]
            fn $name() {
                scenarios::$scenario($link $(, $argument)*);
            }
        )*
    };
    ($peer:expr, $role:expr) => {
        tests_of_link! {
            Link { peer: $peer, agent_role: $role };
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
    ($($module:ident: $peer:expr;)*) => {
        $(
            mod $module {
                mod agent_binds {
                    tests_of_link!($peer, Role::Bind);
                }
                mod agent_connects {
                    tests_of_link!($peer, Role::Connect);
                }
            }
        )*
    };
}

tests_of_peers! {
    v1_2026_7_1: Peer::V1_2026_7_1;
    classic_2019_12_3: Peer::Classic2019_12_3;
    classic_text_2019_4_5: Peer::ClassicText2019_4_5;
}

macro_rules! demos_of_peers {
    ($($module:ident: $peer:expr;)*) => {
        mod demo {
            $(
                mod $module {
                    use aiomsg_interop::{Peer, Role};

                    use crate::demos::{self, Demo};

                    #[test]
                    fn rust_server_binds() {
                        demos::rust_to_python(Demo { peer: $peer, server_role: Role::Bind });
                    }

                    #[test]
                    fn rust_server_connects() {
                        demos::rust_to_python(Demo { peer: $peer, server_role: Role::Connect });
                    }

                    #[test]
                    fn python_server_binds() {
                        demos::python_to_rust(Demo { peer: $peer, server_role: Role::Bind });
                    }

                    #[test]
                    fn python_server_connects() {
                        demos::python_to_rust(Demo { peer: $peer, server_role: Role::Connect });
                    }
                }
            )*
        }
    };
}

demos_of_peers! {
    v1_2026_7_1: Peer::V1_2026_7_1;
    classic_2019_12_3: Peer::Classic2019_12_3;
    classic_text_2019_4_5: Peer::ClassicText2019_4_5;
}
