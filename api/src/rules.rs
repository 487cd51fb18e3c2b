//! What the names of things have to be, wherever they come from.

/// Whether a text can be the id of a tenant.
///
/// # Errors
/// What it has to be.
pub fn tenant_id(id: &str) -> Result<(), &'static str> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_good = (1..=40).contains(&id.len()) && id.bytes().all(fits);
    is_good
        .then_some(())
        .ok_or("id: 1 to 40 of a to z, 0 to 9 and '-'")
}

/// Whether a text can be a name that people give to something.
///
/// # Errors
/// What it has to be.
pub fn name(name: &str) -> Result<(), &'static str> {
    let is_good = (1..=200).contains(&name.chars().count()) && !name.contains(char::is_control);
    is_good
        .then_some(())
        .ok_or("name: 1 to 200 characters, none of control")
}

/// Whether a text in lower case can be the name of an operator.
///
/// # Errors
/// What it has to be.
pub fn operator(name: &str) -> Result<(), &'static str> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-+@".contains(&b);
    let is_good = (1..=64).contains(&name.len()) && name.bytes().all(fits);
    is_good
        .then_some(())
        .ok_or("name: 1 to 64 letters, digits, '.', '_', '-', '+' and '@'")
}

/// Whether a text in lower case can be a SIP domain that is given to a tenant.
///
/// # Errors
/// What it has to be.
pub fn domain(name: &str) -> Result<(), &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b);
    let is_good = (1..=253).contains(&name.len()) && name.bytes().all(fits);
    is_good
        .then_some(())
        .ok_or("this is no SIP domain: write a host name or an address")
}
