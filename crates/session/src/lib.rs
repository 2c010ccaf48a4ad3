//! The sans-I/O core of the server: one TCP connection, one UDP exchange.
