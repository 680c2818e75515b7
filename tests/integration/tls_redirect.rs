//! Plain HTTP that is sent away to HTTPS.
