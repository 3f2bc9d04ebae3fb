//! The people of a configuration, found by what identifies them: ten thousand registrations are not to look at each other.

use std::collections::HashMap;
use std::ops::Deref;

use crate::config::UserConfig;
use crate::number::same_number;

/// All users in the order of the configuration, with indexes over them.
#[derive(Clone, Default, Debug)]
pub struct Users {
    all: Vec<UserConfig>,
    by_name: HashMap<String, usize>,
    /// The first user whose name or extension it is.
    dialled: HashMap<String, usize>,
    /// The first user whose caller id or extension it is, a leading `+` apart.
    inbound: HashMap<String, usize>,
}

impl From<Vec<UserConfig>> for Users {
    fn from(all: Vec<UserConfig>) -> Users {
        let mut users = Users { all, ..Users::default() };
        for (index, user) in users.all.iter().enumerate() {
            let name = user.name.as_str();
            users.by_name.entry(name.to_owned()).or_insert(index);
            for number in [Some(name), user.extension.as_deref()].into_iter().flatten() {
                users.dialled.entry(number.to_owned()).or_insert(index);
            }
            for number in [&user.caller_id, &user.extension].into_iter().flatten() {
                users.inbound.entry(bare(number).to_owned()).or_insert(index);
            }
        }
        users
    }
}

impl Deref for Users {
    type Target = [UserConfig];

    fn deref(&self) -> &[UserConfig] {
        &self.all
    }
}

impl Users {
    /// The user of this name.
    pub fn named(&self, name: &str) -> Option<&UserConfig> {
        self.by_name.get(name).map(|index| &self.all[*index])
    }

    /// The user whose name or extension was dialled.
    pub fn dialled(&self, number: &str) -> Option<&UserConfig> {
        self.dialled.get(number).map(|index| &self.all[*index])
    }

    /// The user whose caller id or extension a trunk calls.
    pub fn with_inbound_number(&self, number: &str) -> Option<&UserConfig> {
        let user = &self.all[*self.inbound.get(bare(number))?];
        let has = |n: &Option<String>| n.as_deref().is_some_and(|n| same_number(n, number));
        (has(&user.caller_id) || has(&user.extension)).then_some(user)
    }
}

fn bare(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip_ua::digest::Secret;
    use types::UserName;

    fn user(name: &str, extension: &str, caller_id: Option<&str>) -> UserConfig {
        UserConfig {
            name: UserName::new(name),
            secret: Secret::Password("secret".into()),
            extension: Some(extension.into()),
            caller_id: caller_id.map(Into::into),
            max_calls: None,
            country: None,
        }
    }

    #[test]
    fn users_are_found_by_name_extension_and_inbound_number() {
        let users: Users =
            vec![user("alice", "100", Some("+12025550110")), user("bob", "101", Some("12025550111"))].into();
        let name = |user: Option<&UserConfig>| user.map(|u| u.name.as_str().to_owned());
        assert_eq!(name(users.named("bob")).as_deref(), Some("bob"));
        assert_eq!(name(users.named("100")), None, "an extension is no name");
        assert_eq!(name(users.dialled("100")).as_deref(), Some("alice"));
        assert_eq!(name(users.dialled("bob")).as_deref(), Some("bob"));
        assert_eq!(name(users.with_inbound_number("12025550110")).as_deref(), Some("alice"));
        assert_eq!(name(users.with_inbound_number("+12025550111")).as_deref(), Some("bob"));
        assert_eq!(name(users.with_inbound_number("101")).as_deref(), Some("bob"));
        assert_eq!(name(users.with_inbound_number("alice")), None, "a trunk calls numbers");
    }

    #[test]
    fn the_first_of_two_users_with_one_number_is_found() {
        let users: Users = vec![user("alice", "7", None), user("7", "8", None)].into();
        assert_eq!(users.dialled("7").unwrap().name.as_str(), "alice");
    }
}
