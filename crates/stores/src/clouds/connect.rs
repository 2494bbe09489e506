//! [`connect`]: an address in a cloud as a store, with the keys and settings of the environment. Knows the variables, not the requests.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, RetryConfig};

use super::profile::profile;
use crate::Options;
use crate::address::Cloud;
use crate::remote::RemoteStore;

/// A part of 32 MiB may take so long.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The store in `bucket` of `cloud`, below `prefix`. No request is made.
pub(crate) fn connect(
    (cloud, bucket, prefix): (Cloud, &str, &str),
    options: &Options,
) -> io::Result<RemoteStore> {
    // Another server has other objects under the same names.
    let server =
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ACCOUNT_NAME"];
    let server = server.into_iter().find_map(env).unwrap_or_default();
    let name = format!("{cloud:?} {server} {bucket} {prefix}");
    // The one that is there already, if a program has another, is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let wrong = |error: object_store::Error| io::Error::new(ErrorKind::InvalidInput, error);
    match cloud {
        Cloud::S3 => {
            let store = s3(&env)?.with_bucket_name(bucket).build().map_err(wrong)?;
            RemoteStore::of_objects(Arc::new(store), prefix, &name, options)
        }
        Cloud::Google => {
            let mut builder = GoogleCloudStorageBuilder::new();
            for (key, value) in settings("GOOGLE_") {
                if let Ok(key) = key.parse::<GoogleConfigKey>() {
                    builder = builder.with_config(key, value);
                }
            }
            let http = env("GOOGLE_BASE_URL").is_some_and(|url| is_http(&url));
            let builder = builder.with_retry(retry()).with_client_options(client(http));
            let store = builder.with_bucket_name(bucket).build().map_err(wrong)?;
            RemoteStore::of_objects(Arc::new(store), prefix, &name, options)
        }
        Cloud::Azure => {
            let mut builder = MicrosoftAzureBuilder::new();
            for (key, value) in settings("AZURE_") {
                // As other backup programs call them.
                let key = match key.as_str() {
                    "azure_account_name" | "azure_account_key" => key.replace("azure_", ""),
                    "azure_account_sas" => "sas_key".into(),
                    _ => key,
                };
                if let Ok(key) = key.parse::<AzureConfigKey>() {
                    builder = builder.with_config(key, value);
                }
            }
            let endpoint = ["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"].into_iter().find_map(env);
            let http = endpoint.is_some_and(|url| is_http(&url));
            let builder = builder.with_retry(retry()).with_client_options(client(http));
            let store = builder.with_container_name(bucket).build().map_err(wrong)?;
            RemoteStore::of_objects(Arc::new(store), prefix, &name, options)
        }
    }
}

/// A variable of the environment that says something.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The variables of the environment that begin so, in lower case.
fn settings(prefix: &str) -> impl Iterator<Item = (String, String)> {
    let ours = move |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        (name.starts_with(prefix) && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
    };
    std::env::vars_os().filter_map(ours)
}

/// A bucket of S3, by the variables of the environment, and what they do not say by the files of AWS's own programs.
fn s3(env: &dyn Fn(&str) -> Option<String>) -> io::Result<AmazonS3Builder> {
    // One object is deleted at a time. Answers to requests for several are not read with care: one of another object ends the program.
    let key = AmazonS3ConfigKey::DisableBulkDelete;
    let mut builder = AmazonS3Builder::new().with_config(key, "true");
    for (key, value) in settings("AWS_") {
        if let Ok(key) = key.parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let (name, profile) = profile(env);
    let is_set = |variables: &[&str]| variables.iter().any(|variable| env(variable).is_some());
    if !is_set(&["AWS_REGION", "AWS_DEFAULT_REGION"]) {
        builder = builder.with_region(profile.get("region").map_or("us-east-1", String::as_str));
    }
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    let endpoint =
        endpoint.into_iter().find_map(env).or_else(|| profile.get("endpoint_url").cloned());
    if let Some(endpoint) = &endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let others = [
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_SKIP_SIGNATURE",
    ];
    if !is_set(&["AWS_ACCESS_KEY_ID"]) && !is_set(&others) {
        match (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")) {
            (Some(id), Some(secret)) => {
                builder = builder.with_access_key_id(id).with_secret_access_key(secret);
                if let Some(token) = profile.get("aws_session_token") {
                    builder = builder.with_token(token);
                }
            }
            // A machine of Amazon's has keys of its own.
            _ if is_at_amazon() => {}
            _ => {
                let knows = ["sso_session", "sso_start_url", "credential_process", "role_arn"];
                let other = knows.into_iter().find(|key| profile.contains_key(*key));
                let why = match other {
                    Some(key) => format!(
                        "the profile `{name}` has its keys by `{key}`, which is not understood: run \
                         `eval \"$(aws configure export-credentials --format env)\"` before"
                    ),
                    None => format!(
                        "there are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them under [{name}] \
                         in ~/.aws/credentials"
                    ),
                };
                return Err(io::Error::new(ErrorKind::InvalidInput, why));
            }
        }
    }
    let http = endpoint.is_some_and(|endpoint| is_http(&endpoint));
    Ok(builder.with_retry(retry()).with_client_options(client(http)))
}

fn is_at_amazon() -> bool {
    let vendor = std::fs::read_to_string("/sys/devices/virtual/dmi/id/sys_vendor");
    vendor.is_ok_and(|vendor| vendor.contains("Amazon"))
}

fn is_http(url: &str) -> bool {
    url.to_ascii_lowercase().starts_with("http://")
}

/// Without encryption only where an address says so.
fn client(http: bool) -> ClientOptions {
    let options = ClientOptions::new().with_timeout(TIMEOUT);
    let options = options.with_connect_timeout(Duration::from_secs(15));
    options.with_config(ClientConfigKey::AllowHttp, http.to_string())
}

/// What fails is tried again after a while, which grows and is never the same for two.
fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(10),
        base: 2.,
    };
    RetryConfig { backoff, max_retries: 8, retry_timeout: Duration::from_secs(100) }
}
