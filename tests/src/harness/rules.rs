//! Lines of profiles.

/// A rule for an address range.
pub fn cidr(range: &str, ports: &str, protocol: &str) -> String {
    format!("[[allow]]\ncidr = \"{range}\"\nports = [{ports}]\nprotocol = \"{protocol}\"\n")
}

/// A rule for a name or wildcard, TCP.
pub fn host(pattern: &str, ports: &str) -> String {
    format!("[[allow]]\nhost = \"{pattern}\"\nports = [{ports}]\nverify = \"none\"\n")
}
