//! The adapters over real TCP on the loopback interface: each behaviour, on each of them. Every wait is for an event,
//! with a deadline.

/// Makes tests of scenarios that are generic over the runtime: each, on tokio and on smol.
macro_rules! on_both {
    ($(async $($asynchronous:ident),+;)? $(sync $($synchronous:ident),+;)?) => {
        on_both!(@ tokio, aiomsg_tokio::Tokio, $($($asynchronous),+)?; $($($synchronous),+)?);
        on_both!(@ smol, aiomsg_smol::Smol, $($($asynchronous),+)?; $($($synchronous),+)?);
    };
    (@ $module:ident, $runtime:ty, $($asynchronous:ident),*; $($synchronous:ident),*) => {
        mod $module {
            $(
                #[test]
                fn $asynchronous() {
                    <$runtime as crate::support::Adapter>::run(super::$asynchronous::<$runtime>());
                }
            )*
            $(
                #[test]
                fn $synchronous() {
                    super::$synchronous::<$runtime>();
                }
            )*
        }
    };
}

mod addresses;
mod closing;
#[cfg(unix)]
mod descriptors;
#[cfg(unix)]
mod flood;
mod hostile;
mod names;
mod receiving;
mod sharing;
mod support;
mod volume;
