#include "control/kubernetes/api_server.h"

#include <utility>

#include "control/base64.h"
#include "control/kubernetes/exec_plugin.h"
#include "control/private_file.h"

namespace istmo::control {
namespace {

// Debian's, and the one of the Red Hat family.
constexpr const char* kMachineAuthorities[] = {"/etc/ssl/certs/ca-certificates.crt",
                                               "/etc/pki/tls/certs/ca-bundle.crt"};
constexpr size_t kTokenBytesMax = 64 * 1024;

Result<std::string> authorities_of(const KubeAccess& access) {
  if (!access.ca_pem.empty() || access.takes_any_certificate) return access.ca_pem;
  for (const char* file : kMachineAuthorities) {
    if (auto text = read_private_file(file)) return text;
  }
  return Error::config("API server " + access.server() +
                       ": the kubeconfig names no certificate-authority, and this machine has no "
                       "authorities of its own (package ca-certificates)");
}

// What would end a header line.
bool is_header_value(const std::string& text) {
  for (const char c : text) {
    if (static_cast<uint8_t>(c) < ' ' || c == 0x7f) return false;
  }
  return true;
}

}  // namespace

Result<ApiServer> ApiServer::create(KubeAccess access, const transport::KeyLog* key_log) {
  TRY(run_exec_plugin(access));
  using transport::RemoteCertificate;
  auto context = transport::TlsContext::create(
      {.role = transport::TlsRole::client,
       .certificate_chain_pem = access.certificate_pem,
       .private_key_pem = access.private_key_pem,
       .ca_pem = TRY(authorities_of(access)),
       .remote_certificate = access.takes_any_certificate ? RemoteCertificate::unchecked
                                                          : RemoteCertificate::required,
       .minimum_version = transport::TlsVersion::v1_2,
       .key_log = key_log});
  if (!context) return std::move(context).error().at("API server " + access.server());
  ApiServer server(std::move(access), std::move(*context));
  if (const auto address = io::Address::parse(server.access_.host, server.access_.port)) {
    server.set_addresses({*address});
  }
  return server;
}

Result<std::string> ApiServer::authorization(Instant now) {
  if (std::exchange(is_plugin_due_, false)) TRY(run_exec_plugin(access_));
  if (access_.token_file.empty() && access_.token.empty()) {
    if (access_.user.empty()) return std::string();
    return "Basic " + encode_base64(access_.user + ":" + access_.password);
  }
  const bool is_due = token_read_at_ == Instant::never() || now - token_read_at_ >= kTokenTime;
  if (is_due) {
    std::string token;
    if (!access_.token_file.empty()) token = read_private_file(access_.token_file).value_or("");
    while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
    if (token.empty()) token = token_.empty() ? access_.token : token_;  // the last good one
    if (token.empty() || token.size() > kTokenBytesMax || !is_header_value(token)) {
      return Error::config("the token in " + access_.token_file.string() + " cannot be used");
    }
    token_ = std::move(token);
    token_read_at_ = now;
  }
  return "Bearer " + token_;
}

void ApiServer::set_addresses(const std::vector<io::Address>& addresses) {
  const std::string& name = access_.server_name.empty() ? access_.host : access_.server_name;
  places_.clear();
  for (const io::Address& address : addresses) {
    places_.push_back({.address = address,
                       .host = access_.host,
                       .certificate_name = access_.takes_any_certificate ? std::string() : name,
                       .path = access_.path});
  }
}

Result<Request> ApiServer::request(const std::string& method, const std::string& target,
                                   Instant now) {
  Request request{.head = {.method = method,
                           .target = target,
                           .fields = {{"accept", "application/json"}, {"user-agent", "istmo"}}},
                  .body = {}};
  const std::string value = TRY(authorization(now));
  if (!value.empty()) request.head.fields["authorization"] = value;
  return request;
}

}  // namespace istmo::control
