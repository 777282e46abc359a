// Documents from the file system as they are at one moment: a site directory (input/resources,
// input/certs), a plain folder of *.yaml, or one multi-document file.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/desired.h"

namespace istmo::control {

struct SourceFile {
  std::string text;
  std::string error;  // could not be read: "Permission denied"
  friend bool operator==(const SourceFile&, const SourceFile&) = default;
};

// The complete picture at one moment.
struct SourceState {
  std::map<std::string, SourceFile> files;        // by path
  std::map<std::string, SecretDocument> secrets;  // input/certs/<name>
  friend bool operator==(const SourceState&, const SourceState&) = default;
};

struct SourcePaths {
  std::string resources;  // a folder of *.yaml, *.yml, *.json; or one file
  std::string certs;      // a folder of folders with tls.crt, tls.key, ca.crt; empty: none
  // DIR/input/resources and DIR/input/certs if DIR/input/resources exists, else DIR itself;
  // a file: that file.
  static SourcePaths of(const std::string& file_or_directory);
};

// One reading.
SourceState read_source(const SourcePaths& paths);

// What a folder holds, in order.
std::vector<std::string> names_in(const std::string& directory);

}  // namespace istmo::control
