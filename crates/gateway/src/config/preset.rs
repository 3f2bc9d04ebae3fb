//! Carriers and PBXs whose keys are known from their public pages; the files say which.

use std::sync::LazyLock;

use toml::de::DeTable;

macro_rules! presets {
    ($($name:literal),+) => {
        [$(($name, include_str!(concat!("../../../../config/presets/", $name, ".toml")))),+]
    };
}

/// Name and text of each, in alphabetical order.
pub const PRESETS: [(&str, &str); 8] =
    presets!("asterisk", "fritzbox", "freeswitch", "sipgate", "telekom", "telnyx", "twilio", "voipms");

static TABLES: LazyLock<Vec<(&str, DeTable<'_>)>> = LazyLock::new(|| {
    let read = |text| DeTable::parse(text).ok().map(|table| table.into_inner());
    PRESETS.iter().filter_map(|(name, text)| Some((*name, read(text)?))).collect()
});

/// The keys of a preset.
///
/// # Errors
/// A sentence with the names that exist.
pub fn preset(name: &str) -> Result<&'static DeTable<'static>, String> {
    let found = TABLES.iter().find(|(known, _)| *known == name).map(|(_, table)| table);
    found.ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        format!("there is no preset {name:?}; there are {}", names.join(", "))
    })
}
