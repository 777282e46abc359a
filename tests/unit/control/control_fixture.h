// Shared by the tests of this layer: a real loop, a folder of its own, documents from text.
#pragma once

#include <sys/resource.h>

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "control/document_store.h"
#include "control/document_text.h"
#include "dataplane/io/loop.h"

namespace istmo::control {

inline std::unique_ptr<io::Loop> make_test_loop() {
  auto choice = io::choose_loop(io::IoMode::epoll);
  BOOST_REQUIRE(choice.has_value());
  auto loop = io::make_loop(*choice, {});
  BOOST_REQUIRE(loop.has_value());
  return std::move(*loop);
}

// Turns until `is_done()`; a test that would hang fails after 20 s instead.
template <class IsDone>
void run_until(io::Loop& loop, IsDone&& is_done) {
  const Instant give_up = monotonic_now() + Duration::seconds(20);
  while (!is_done() && monotonic_now() < give_up) loop.run_turn(Duration::milliseconds(20));
  BOOST_REQUIRE(is_done());
}

class TestFolder {
 public:
  TestFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "istmo-XXXXXX").string();
    BOOST_REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TestFolder() {
    std::error_code failure;
    std::filesystem::remove_all(path_, failure);
  }
  std::string operator/(std::string_view name) const { return (path_ / name).string(); }
  std::string write(std::string_view name, std::string_view text) const {
    const std::filesystem::path path = path_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// While it lives this process can open nothing: EMFILE, as root too.
class NoDescriptors {
 public:
  NoDescriptors() {
    BOOST_REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = before_.rlim_max};
    BOOST_REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

inline std::string document(std::string_view kind, std::string_view name, std::string_view spec) {
  return "apiVersion: skupper.io/v2alpha1\nkind: " + std::string(kind) +
         "\nmetadata: {name: " + std::string(name) + "}\nspec: " + std::string(spec) + "\n---\n";
}

inline Desired desired_from(const std::string& text) {
  DocumentStore store;
  store.apply({.files = {{"test.yaml", {text, {}}}}, .secrets = {}});
  for (const Problem& problem : store.problems()) BOOST_TEST_MESSAGE(problem.to_string());
  return store.desired();
}

template <class Problems>
bool has_problem(const Problems& problems, std::string_view part) {
  for (const Problem& problem : problems) {
    if (problem.to_string().contains(part)) return true;
  }
  for (const Problem& problem : problems) BOOST_TEST_MESSAGE("has: " + problem.to_string());
  return false;
}

}  // namespace istmo::control
