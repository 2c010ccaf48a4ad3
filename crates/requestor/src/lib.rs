//! The other side of leasequery: asks servers and reads their answers.
