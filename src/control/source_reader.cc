#include "control/source_reader.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>
#include <vector>

#include "control/document_text.h"

namespace istmo::control {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSettledNs = 1'000'000'000;
constexpr std::array kSecretKeys{"ca.crt", "tls.crt", "tls.key"};

bool is_document_name(const std::string& name) {
  // Editors' and our own temporary files begin with a dot.
  return !name.starts_with('.') &&
         (name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json"));
}

int64_t nanoseconds_of(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

int64_t wall_clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return nanoseconds_of(now);
}

SourceFile too_long() {
  return {{}, "longer than " + std::to_string(kDocumentBytesMax) + " bytes"};
}

// To its end: its size is what it was a moment ago.
SourceFile read_text(int descriptor, size_t size) {
  std::string text(size + 1, '\0');
  size_t used = 0;
  while (true) {
    const ssize_t count = ::read(descriptor, text.data() + used, text.size() - used);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return {{}, std::strerror(errno)};
    if (count == 0) break;
    used += static_cast<size_t>(count);
    if (used > kDocumentBytesMax) return too_long();
    if (used == text.size()) text.resize(used + 4096);
  }
  text.resize(used);
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

bool SourceReader::read(const std::set<FileIdentity>& being_written) {
  ++round_;
  being_written_ = being_written;
  is_changed_ = false;
  unread_.clear();
  read_documents();
  if (!paths_.certs.empty()) read_secrets();
  if (unread_ != state_.unread) is_changed_ = true;
  state_.unread = std::move(unread_);
  std::erase_if(known_, [&](const auto& entry) { return entry.second.round != round_; });
  return is_changed_;
}

SourceReader::Look SourceReader::Look::of(const struct stat& found) {
  return {.device = found.st_dev,
          .inode = found.st_ino,
          .bytes = found.st_size,
          .modified_ns = nanoseconds_of(found.st_mtim),
          .changed_ns = nanoseconds_of(found.st_ctim)};
}

bool SourceReader::has_settled_look(const std::string& path, const struct stat& found) const {
  const auto known = known_.find(path);
  return known != known_.end() && known->second.is_settled && known->second.look == Look::of(found);
}

bool SourceReader::is_being_written(const struct stat& found) const {
  return being_written_.contains(FileIdentity::of(found));
}

SourceFile SourceReader::read_file(const std::string& path) {
  Known& known = known_[path];
  known = {.round = round_, .look = {}, .is_settled = false};
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) return {{}, std::strerror(errno)};
  struct stat found{};
  SourceFile file;
  if (::fstat(descriptor, &found) != 0) {
    file.error = std::strerror(errno);
  } else if (found.st_size > static_cast<off_t>(kDocumentBytesMax)) {
    file = too_long();
  } else {
    file = read_text(descriptor, static_cast<size_t>(found.st_size));
    known.look = Look::of(found);
    const int64_t latest_ns = std::max(known.look.modified_ns, known.look.changed_ns);
    known.is_settled = file.error.empty() && latest_ns < wall_clock_ns() - kSettledNs;
  }
  ::close(descriptor);
  return file;
}

void SourceReader::read_documents() {
  struct stat found{};
  if (find_file(paths_.resources, found) == Presence::there && S_ISREG(found.st_mode)) {
    read_document(paths_.resources);
  } else if (auto names = names_in(paths_.resources)) {
    read_documents(std::move(*names));
  } else {
    unread_[paths_.resources] = names.error().text();
    return;
  }
  const auto is_gone = [&](const auto& file) {
    const auto known = known_.find(file.first);
    return known == known_.end() || known->second.round != round_;
  };
  if (std::erase_if(state_.files, is_gone) > 0) is_changed_ = true;
}

void SourceReader::read_documents(std::vector<std::string> names) {
  std::erase_if(names, [](const std::string& name) { return !is_document_name(name); });
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string path = (fs::path(paths_.resources) / names[i]).string();
    if (i < files_max_) read_document(path);
    else if (state_.files.contains(path)) put_document(path, {{}, "its folder holds too many"});
  }
  if (names.size() > files_max_) put_document(paths_.resources, {{}, too_many(names.size())});
}

void SourceReader::read_document(const std::string& path) {
  struct stat found{};
  switch (find_file(path, found)) {
    case Presence::absent: return;
    case Presence::unknown: return put_document(path, {{}, std::strerror(errno)});
    case Presence::there: break;
  }
  if (!S_ISREG(found.st_mode)) return;
  const bool is_known = state_.files.contains(path);
  if (!is_known && is_being_written(found)) return;  // not there yet
  if (is_being_written(found) || has_settled_look(path, found)) {
    known_[path].round = round_;
    return;
  }
  SourceFile file = read_file(path);
  // Gone between listing and reading: it is simply not there.
  if (!file.error.empty() && find_file(path, found) == Presence::absent) {
    known_.erase(path);
    return;
  }
  put_document(path, std::move(file));
}

void SourceReader::put_document(const std::string& path, SourceFile file) {
  known_[path].round = round_;
  const auto [place, is_new] = state_.files.try_emplace(path);
  if (!is_new && place->second == file) return;
  place->second = std::move(file);
  is_changed_ = true;
}

void SourceReader::read_secrets() {
  auto names = names_in(paths_.certs);
  if (!names) {
    unread_[paths_.certs] = names.error().text();
    return;
  }
  if (names->size() > files_max_) {
    unread_[paths_.certs] = too_many(names->size());
    names->resize(files_max_);
  }
  std::set<std::string> there;
  for (const std::string& name : *names) {
    const std::string directory = (fs::path(paths_.certs) / name).string();
    struct stat found{};
    if (!check_object_name(name)) continue;
    const Presence presence = find_file(directory, found);
    if (presence == Presence::unknown) unread_[directory] = std::strerror(errno);
    else if (presence == Presence::absent || !S_ISDIR(found.st_mode)) continue;
    if (presence == Presence::unknown || keep_or_read_secret(directory, name)) there.insert(name);
  }
  if (unread_.contains(paths_.certs)) return;
  const auto is_gone = [&](const auto& secret) { return !there.contains(secret.first); };
  if (std::erase_if(state_.secrets, is_gone) > 0) is_changed_ = true;
}

// False: it is no Secret (any more).
bool SourceReader::keep_or_read_secret(const std::string& directory, const std::string& name) {
  const auto before = state_.secrets.find(name);
  if (is_secret_being_written(directory)) return true;
  if (before != state_.secrets.end() && is_unchanged(before->second)) return true;
  auto secret = read_secret(directory, name);
  if (!secret) {
    unread_[directory] = secret.error().text();
    return true;
  }
  if (secret->data.empty()) return false;
  if (before != state_.secrets.end() && before->second == *secret) return true;
  state_.secrets.insert_or_assign(name, std::move(*secret));
  is_changed_ = true;
  return true;
}

bool SourceReader::is_secret_being_written(const std::string& directory) const {
  return std::ranges::any_of(kSecretKeys, [&](const char* key) {
    struct stat found{};
    return find_file((fs::path(directory) / key).string(), found) == Presence::there &&
           is_being_written(found);
  });
}

// Each of its files that is there looks as it did, and no other is.
bool SourceReader::is_unchanged(const SecretDocument& secret) {
  for (const char* key : kSecretKeys) {
    const std::string path = (fs::path(secret.origin.file) / key).string();
    struct stat found{};
    const Presence presence = find_file(path, found);
    if (!secret.data.contains(key)) {
      if (presence != Presence::absent) return false;
    } else if (presence != Presence::there || !has_settled_look(path, found)) {
      return false;
    } else {
      known_[path].round = round_;
    }
  }
  return true;
}

// All of its files, or an error: half a Secret would take the other half away.
Result<SecretDocument> SourceReader::read_secret(const std::string& directory,
                                                 const std::string& name) {
  SecretDocument secret;
  secret.origin = {directory, 0, 0};
  secret.metadata.name = name;
  secret.type = "kubernetes.io/tls";
  for (const char* key : kSecretKeys) {
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

std::string SourceReader::too_many(size_t count) const {
  return "it holds " + std::to_string(count) + " documents, of which the first " +
         std::to_string(files_max_) + " by name are read";
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
