//! (grows with its module)
