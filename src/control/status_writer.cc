#include "control/status_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "control/document_text.h"

namespace istmo::control {
namespace {

namespace fs = std::filesystem;

bool is_status_name(const std::string& name) {
  const size_t dash = name.find('-');
  return !name.starts_with('.') && dash != std::string::npos && name.ends_with(".yaml");
}

}  // namespace

Result<> StatusWriter::write(const std::vector<ObjectStatus>& objects) {
  TRY(read_directory());
  Result<> first_failure;
  std::set<std::string> names;
  for (const ObjectStatus& object : objects) {
    if (object.id.kind == SecretDocument::kKind) continue;
    // The name of an object that never was valid may be anything.
    if (!check_object_name(object.id.name)) continue;
    const std::string name = object.id.kind + "-" + object.id.name + ".yaml";
    const std::string text = write_value(object.to_value(), Format::yaml);
    names.insert(name);
    if (const auto known = written_.find(name); known != written_.end() && known->second == text) {
      continue;
    }
    if (auto written = write_file(name, text); written) written_[name] = text;
    else if (first_failure) first_failure = std::move(written);
  }
  for (auto it = written_.begin(); it != written_.end();) {
    if (names.contains(it->first)) {
      ++it;
      continue;
    }
    std::error_code failure;
    fs::remove(fs::path(directory_) / it->first, failure);
    it = written_.erase(it);
  }
  return first_failure;
}

Result<> StatusWriter::read_directory() {
  if (has_read_directory_) return {};
  std::error_code failure;
  fs::create_directories(directory_, failure);
  if (failure) return Error::internal("make " + directory_ + ": " + failure.message());
  for (fs::directory_iterator entry(directory_, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    if (!is_status_name(name)) continue;
    std::ostringstream text;
    text << std::ifstream(entry->path()).rdbuf();
    written_[name] = text.str();
  }
  has_read_directory_ = true;
  return {};
}

Result<> StatusWriter::write_file(const std::string& name, const std::string& text) {
  const std::string path = directory_ + "/" + name;
  const std::string temporary = directory_ + "/." + name + ".new";
  // Tokens and grants carry their codes.
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Error::from_errno(errno, "write " + temporary);
  size_t done = 0;
  int failure = 0;
  while (done < text.size() && failure == 0) {
    const ssize_t count = ::write(fd, text.data() + done, text.size() - done);
    if (count >= 0) done += static_cast<size_t>(count);
    else if (errno != EINTR) failure = errno;
  }
  ::close(fd);
  if (failure == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) failure = errno;
  if (failure == 0) return {};
  ::unlink(temporary.c_str());
  return Error::from_errno(failure, "write " + path);
}

}  // namespace istmo::control
