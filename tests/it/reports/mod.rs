//! What is told of a stored run, read by readers that are not ours.

mod junit;
mod readers;
