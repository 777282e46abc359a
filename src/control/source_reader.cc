#include "control/source_reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <vector>

#include "control/document_text.h"

namespace istmo::control {
namespace {

namespace fs = std::filesystem;

constexpr size_t kFilesMax = 10'000;

bool is_document_name(const std::string& name) {
  // Editors' and our own temporary files begin with a dot.
  return !name.starts_with('.') &&
         (name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json"));
}

SourceFile read_file(const std::string& path) {
  std::error_code failure;
  const auto size = fs::file_size(path, failure);
  if (failure) return {{}, failure.message()};
  if (size > kDocumentBytesMax) {
    return {{}, "longer than " + std::to_string(kDocumentBytesMax) + " bytes"};
  }
  std::ifstream input(path, std::ios::binary);
  if (!input) return {{}, std::strerror(errno)};
  std::string text(kDocumentBytesMax + 1, '\0');
  input.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (input.bad()) return {{}, "read error"};
  text.resize(static_cast<size_t>(input.gcount()));
  return {std::move(text), {}};
}

enum class Presence : uint8_t { there, absent, unknown };

// Unknown: only ENOENT and ENOTDIR say that a file is not there. `found` is then left alone and
// errno tells why.
Presence find_file(const std::string& path, struct stat& found) {
  if (::stat(path.c_str(), &found) == 0) return Presence::there;
  return errno == ENOENT || errno == ENOTDIR ? Presence::absent : Presence::unknown;
}

}  // namespace

SourcePaths SourcePaths::of(const std::string& file_or_directory) {
  std::error_code failure;
  const fs::path input = fs::path(file_or_directory) / "input";
  if (fs::is_directory(input / "resources", failure)) {
    return {(input / "resources").string(), (input / "certs").string()};
  }
  if (fs::is_directory(file_or_directory, failure)) {
    return {file_or_directory, (input / "certs").string()};
  }
  return {file_or_directory, ""};
}

bool SourceReader::read() {
  ++round_;
  is_changed_ = false;
  unread_.clear();
  read_documents();
  if (!paths_.certs.empty()) read_secrets();
  if (unread_ != state_.unread) is_changed_ = true;
  state_.unread = std::move(unread_);
  return is_changed_;
}

void SourceReader::read_documents() {
  struct stat found{};
  if (find_file(paths_.resources, found) == Presence::there && S_ISREG(found.st_mode)) {
    read_document(paths_.resources);
  } else if (const auto names = names_in(paths_.resources)) {
    for (const std::string& name : *names) {
      if (is_document_name(name)) read_document((fs::path(paths_.resources) / name).string());
    }
  } else {
    unread_[paths_.resources] = names.error().text();
    return;
  }
  std::erase_if(rounds_, [&](const auto& entry) { return entry.second != round_; });
  const auto is_gone = [&](const auto& file) { return !rounds_.contains(file.first); };
  if (std::erase_if(state_.files, is_gone) > 0) is_changed_ = true;
}

void SourceReader::read_document(const std::string& path) {
  struct stat found{};
  switch (find_file(path, found)) {
    case Presence::absent: return;
    case Presence::unknown: return put_document(path, {{}, std::strerror(errno)});
    case Presence::there: break;
  }
  if (!S_ISREG(found.st_mode)) return;
  SourceFile file = read_file(path);
  // Gone between listing and reading: it is simply not there.
  if (!file.error.empty() && find_file(path, found) == Presence::absent) return;
  put_document(path, std::move(file));
}

void SourceReader::put_document(const std::string& path, SourceFile file) {
  rounds_[path] = round_;
  const auto [place, is_new] = state_.files.try_emplace(path);
  if (!is_new && place->second == file) return;
  place->second = std::move(file);
  is_changed_ = true;
}

void SourceReader::read_secrets() {
  const auto names = names_in(paths_.certs);
  if (!names) {
    unread_[paths_.certs] = names.error().text();
    return;
  }
  std::set<std::string> there;
  for (const std::string& name : *names) {
    const std::string directory = (fs::path(paths_.certs) / name).string();
    struct stat found{};
    if (!check_object_name(name)) continue;
    const Presence presence = find_file(directory, found);
    if (presence == Presence::unknown) unread_[directory] = std::strerror(errno);
    if (presence == Presence::there && S_ISDIR(found.st_mode)) {
      auto secret = read_secret(directory, name);
      if (!secret) {
        unread_[directory] = secret.error().text();
      } else if (!secret->data.empty()) {
        there.insert(name);
        SecretDocument& known = state_.secrets[name];
        if (known == *secret) continue;
        known = std::move(*secret);
        is_changed_ = true;
      }
    }
    if (unread_.contains(directory)) there.insert(name);
  }
  const auto is_gone = [&](const auto& secret) { return !there.contains(secret.first); };
  if (std::erase_if(state_.secrets, is_gone) > 0) is_changed_ = true;
}

// All of its files, or an error: half a Secret would take the other half away.
Result<SecretDocument> SourceReader::read_secret(const std::string& directory,
                                                 const std::string& name) {
  SecretDocument secret;
  secret.origin = {directory, 0, 0};
  secret.metadata.name = name;
  secret.type = "kubernetes.io/tls";
  for (const char* key : {"ca.crt", "tls.crt", "tls.key"}) {
    const std::string path = (fs::path(directory) / key).string();
    struct stat found{};
    const Presence presence = find_file(path, found);
    if (presence == Presence::absent) continue;
    if (presence == Presence::unknown) return Error::from_errno(errno, key);
    SourceFile file = read_file(path);
    if (!file.error.empty()) return Error::config(key + (": " + file.error));
    secret.data[key] = std::move(file.text);
  }
  return secret;
}

SourceState read_source(const SourcePaths& paths) {
  SourceReader reader(paths);
  reader.read();
  return reader.state();
}

Result<std::vector<std::string>> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code failure;
  for (fs::directory_iterator entry(directory, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    if (names.size() == kFilesMax) break;
    names.push_back(entry->path().filename().string());
  }
  if (failure == std::errc::no_such_file_or_directory || failure == std::errc::not_a_directory) {
    names.clear();
  } else if (failure) {
    return Error::config(failure.message());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace istmo::control
