//! What the section `openid_connect` has to say before anybody is sent to a provider.

use skin_assist_identity::{IssuerRefused, check_issuer, is_secure};
use url::Url;

use super::OpenIdConnectConfig;
use crate::failure::Failure;

/// Where the provider sends people back to, below the console's address.
pub const RETURN_PATH: &str = "/sign-in/return";

impl OpenIdConnectConfig {
    /// Whether people sign in with a provider.
    pub fn is_configured(&self) -> bool {
        !self.issuer.is_empty()
    }

    /// The console's address, as browsers know it.
    pub fn console_address(&self) -> Option<Url> {
        let is_root = |url: &Url| url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let url = Url::parse(&self.console_url).ok();
        url.filter(|url| is_secure(url) && is_root(url) && url.username().is_empty())
    }

    /// What is registered with the provider.
    pub fn return_address(&self) -> Option<Url> {
        self.console_address()?.join(RETURN_PATH).ok()
    }

    pub(super) fn check(&self) -> Result<(), Failure> {
        let problem = |problem: &str, hint: &str| Err(Failure::new(problem).with_hint(hint));
        let values = [&self.viewers, &self.operators, &self.admins];
        if !self.is_configured() {
            if self.client_id.is_empty() && values.iter().all(|values| values.is_empty()) {
                return Ok(());
            }
            return problem(
                "the section openid_connect names no provider",
                "set openid_connect.issuer to what the provider calls itself: the value of issuer in its \
                 /.well-known/openid-configuration",
            );
        }
        match check_issuer(&self.issuer) {
            Ok(_) => {}
            Err(refused @ IssuerRefused::NoUrl) => {
                return Err(Failure::new("openid_connect.issuer is no issuer")
                    .because(refused)
                    .with_hint("it is a URL without a query, such as https://identity.example.org/realms/clinic"));
            }
            Err(refused @ IssuerRefused::Plain) => {
                return Err(Failure::new("openid_connect.issuer is not safe")
                    .because(refused)
                    .with_hint("it begins with https://; http:// is taken for this very machine alone"));
            }
        }
        if self.client_id.is_empty() {
            return problem(
                "openid_connect.client_id is missing",
                "register the console with the provider, with the authorization code flow, and set what it is called there",
            );
        }
        if self.console_address().is_none() {
            return problem(
                "openid_connect.console_url is no address of the console",
                "it is what people type to reach the console, https://console.example.org/ or http://127.0.0.1:8470/, without \
                 a path",
            );
        }
        if self.role_claim.is_empty() || self.name_claim.is_empty() {
            return problem(
                "a claim of the section openid_connect has no name",
                "openid_connect.role_claim is \"groups\" and name_claim \"sub\" unless the provider names them otherwise",
            );
        }
        if values.iter().all(|values| values.is_empty()) {
            return problem(
                "nobody has a role by the identity provider",
                "list the values of openid_connect.role_claim that give one: openid_connect.viewers, operators or admins",
            );
        }
        if values
            .iter()
            .any(|values| values.iter().any(|value| value.trim().is_empty()))
        {
            return problem(
                "an empty value gives a role by the identity provider",
                "each entry of openid_connect.viewers, operators and admins is a value of openid_connect.role_claim",
            );
        }
        let is_a_scope = |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.scopes.iter().all(is_a_scope) {
            return problem(
                "openid_connect.scopes has an entry that is no scope",
                "each is one word, such as \"groups\"",
            );
        }
        Ok(())
    }
}
