//! The laws of the client machine, whatever the listener does.
