//! The few numbers that one assertion needs, gathered from the books.
