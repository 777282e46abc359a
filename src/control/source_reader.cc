#include "control/source_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
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

void read_documents(const std::string& resources, SourceState& state) {
  std::error_code failure;
  if (fs::is_regular_file(resources, failure)) {
    state.files[resources] = read_file(resources);
    return;
  }
  for (const std::string& name : names_in(resources)) {
    const std::string path = (fs::path(resources) / name).string();
    if (!is_document_name(name) || !fs::is_regular_file(path, failure)) continue;
    SourceFile file = read_file(path);
    // Gone between listing and reading: it is simply not there.
    if (!file.error.empty() && !fs::exists(path, failure)) continue;
    state.files[path] = std::move(file);
  }
}

void read_secrets(const std::string& certs, SourceState& state) {
  for (const std::string& name : names_in(certs)) {
    const fs::path directory = fs::path(certs) / name;
    std::error_code failure;
    if (!check_object_name(name) || !fs::is_directory(directory, failure)) continue;
    SecretDocument secret;
    secret.origin = {directory.string(), 0, 0};
    secret.metadata.name = name;
    secret.type = "kubernetes.io/tls";
    for (const char* key : {"ca.crt", "tls.crt", "tls.key"}) {
      const std::string path = (directory / key).string();
      if (!fs::exists(path, failure)) continue;
      SourceFile file = read_file(path);
      if (file.error.empty()) secret.data[key] = std::move(file.text);
      else state.files[path] = std::move(file);
    }
    if (!secret.data.empty()) state.secrets.emplace(name, std::move(secret));
  }
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

SourceState read_source(const SourcePaths& paths) {
  SourceState state;
  read_documents(paths.resources, state);
  if (!paths.certs.empty()) read_secrets(paths.certs, state);
  return state;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code failure;
  for (fs::directory_iterator entry(directory, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    if (names.size() == kFilesMax) break;
    names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace istmo::control
