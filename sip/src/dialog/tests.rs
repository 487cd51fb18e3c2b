//! Dialogs from real-looking messages.
