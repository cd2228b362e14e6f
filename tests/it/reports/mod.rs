//! What is told of a stored run, read by readers that are not ours.

mod forms;
mod junit;
mod logs;
mod readers;
