#include "control_fixture.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "control/directory_source.h"
#include "control/watch_plan.h"

using namespace istmo;
using namespace istmo::control;

namespace {

class SourceWatcher final : public SourceSink {
 public:
  void on_source_changed(const SourceState& state) override {
    last = state;
    for (const auto& [path, file] : state.files) texts.insert(file.text);
    ++changes;
  }
  SourceState last;
  std::set<std::string> texts;  // that were ever seen
  int changes = 0;
};

// Without the slow rescan: only what notices tell is found.
struct WatchedSource {
  explicit WatchedSource(SourcePaths paths)
      : source(*loop, watcher, std::move(paths), Duration::seconds(3600)) {
    source.start();
  }
  ~WatchedSource() {
    source.stop();
    while (!source.is_idle()) loop->run_turn(Duration::milliseconds(1));
  }
  template <class IsDone>
  void until(IsDone&& is_done) {
    run_until(*loop, [&] { return is_done(source.state()); });
  }
  std::unique_ptr<io::Loop> loop = make_test_loop();
  SourceWatcher watcher;
  DirectorySource source;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(directory_source)

BOOST_AUTO_TEST_CASE(files_are_read_at_the_start_and_watched) {
  TestFolder folder;
  const std::string a = folder.write("a.yaml", "one");
  folder.write(".hidden.yaml", "x");
  folder.write("notes.txt", "x");
  WatchedSource watched({folder.path().string(), ""});
  BOOST_TEST(watched.source.state().files.size() == 1u);
  folder.write("a.yaml", "two");
  watched.until([&](const SourceState& s) { return s.files.at(a).text == "two"; });
  const std::string b = folder.write("b.json", "{}");
  watched.until([&](const SourceState& s) { return s.files.contains(b); });
  std::filesystem::remove(a);
  watched.until([&](const SourceState& s) { return s.files.size() == 1; });
  BOOST_TEST(bool(watched.watcher.last == watched.source.state()));
}

BOOST_AUTO_TEST_CASE(save_by_rename_is_seen) {
  TestFolder folder;
  const std::string a = folder.write("a.yaml", "one");
  WatchedSource watched({folder.path().string(), ""});
  const std::string swap = folder.write("a.yaml.swp", "two");
  std::filesystem::rename(swap, a);
  watched.until([&](const SourceState& s) { return s.files.at(a).text == "two"; });
}

BOOST_AUTO_TEST_CASE(folder_that_is_removed_and_made_again_is_watched_on) {
  TestFolder folder;
  const std::string a = folder.write("input/resources/a.yaml", "one");
  WatchedSource watched(SourcePaths::of(folder.path().string()));
  BOOST_TEST(watched.source.state().files.size() == 1u);
  std::filesystem::remove_all(folder / "input");
  watched.until([&](const SourceState& s) { return s.files.empty(); });
  folder.write("input/resources/a.yaml", "two");
  watched.until([&](const SourceState& s) { return s.files.contains(a); });
  folder.write("input/resources/a.yaml", "three");
  watched.until([&](const SourceState& s) { return s.files.at(a).text == "three"; });
}

BOOST_AUTO_TEST_CASE(one_file_is_watched) {
  TestFolder folder;
  const std::string a = folder.write("site.yaml", "one");
  WatchedSource watched(SourcePaths::of(a));
  BOOST_TEST(watched.source.state().files.at(a).text == "one");
  const std::string next = folder.write("next", "two");
  std::filesystem::rename(next, a);
  watched.until([&](const SourceState& s) { return s.files.at(a).text == "two"; });
}

BOOST_AUTO_TEST_CASE(certificates_become_secrets) {
  TestFolder folder;
  folder.write("input/resources/a.yaml", "");
  folder.write("input/certs/mine/tls.crt", "c");
  WatchedSource watched(SourcePaths::of(folder.path().string()));
  BOOST_REQUIRE(watched.source.state().secrets.contains("mine"));
  BOOST_TEST(watched.source.state().secrets.at("mine").data.at("tls.crt") == "c");
  folder.write("input/certs/mine/tls.key", "k");
  folder.write("input/certs/other/ca.crt", "a");
  watched.until([](const SourceState& s) {
    return s.secrets.contains("other") && s.secrets.at("mine").data.contains("tls.key");
  });
}

BOOST_AUTO_TEST_CASE(a_file_that_is_being_written_counts_when_it_is_closed) {
  TestFolder folder;
  const std::string a = folder.write("in/a.yaml", "port: 8080");
  const std::string key = folder.write("certs/mine/tls.key", "key");
  WatchedSource watched({folder / "in", folder / "certs"});
  std::ofstream writers[] = {std::ofstream(a), std::ofstream(key),
                             std::ofstream(folder / "in/new.yaml")};
  for (int round = 0; round < 3; ++round) {
    for (std::ofstream& writer : writers) writer << "80" << std::flush;
    // Another file applies meanwhile: the folder was read.
    const std::string text = "round " + std::to_string(round);
    const std::string b = folder.write("in/b.yaml", text);
    watched.until(
        [&](const SourceState& s) { return s.files.contains(b) && s.files.at(b).text == text; });
    BOOST_TEST(watched.source.state().files.at(a).text == "port: 8080");
    BOOST_TEST(watched.source.state().files.size() == 2u);
    BOOST_TEST(watched.source.state().secrets.at("mine").data.at("tls.key") == "key");
  }
  for (std::ofstream& writer : writers) writer.close();
  watched.until([&](const SourceState& s) {
    return s.files.at(a).text == "808080" && s.files.size() == 3 &&
           s.secrets.at("mine").data.at("tls.key") == "808080";
  });
  BOOST_TEST(!watched.watcher.texts.contains("8080"));
}

BOOST_AUTO_TEST_CASE(a_writer_that_has_paused_is_not_waited_for) {
  TestFolder folder;
  const std::string a = folder.write("a.yaml", "one");
  WatchedSource watched({folder.path().string(), ""});
  std::ofstream writer(a);
  writer << "two" << std::flush;
  watched.until([&](const SourceState& s) { return s.files.at(a).text == "two"; });
}

BOOST_AUTO_TEST_CASE(links_and_second_names_of_files_are_seen_at_once) {
  TestFolder folder;
  const std::string elsewhere = folder.write("elsewhere/x.yaml", "one");
  folder.write("in/a.yaml", "");
  WatchedSource watched({folder / "in", ""});
  std::filesystem::create_symlink(elsewhere, folder / "in/b.yaml");
  watched.until([&](const SourceState& s) { return s.files.contains(folder / "in/b.yaml"); });
  std::filesystem::create_hard_link(elsewhere, folder / "in/c.yaml");
  watched.until([&](const SourceState& s) { return s.files.contains(folder / "in/c.yaml"); });
}

BOOST_AUTO_TEST_CASE(a_linked_file_is_watched_where_it_is) {
  TestFolder folder;
  const std::string target = folder.write("elsewhere/x.yaml", "one");
  std::filesystem::create_directory(folder / "in");
  const std::string a = folder / "in/a.yaml";
  std::filesystem::create_symlink("../elsewhere/x.yaml", a);
  WatchedSource watched({folder / "in", ""});
  BOOST_TEST(watched.source.state().files.at(a).text == "one");
  folder.write("elsewhere/x.yaml", "two");
  watched.until([&](const SourceState& s) { return s.files.at(a).text == "two"; });
  const std::string next = folder.write("elsewhere/next", "three");
  std::filesystem::rename(next, target);
  watched.until([&](const SourceState& s) { return s.files.at(a).text == "three"; });
}

// ConfigMaps and Secrets: files link through `..data`, which is exchanged as a whole.
BOOST_AUTO_TEST_CASE(volumes_of_kubernetes_are_followed) {
  namespace fs = std::filesystem;
  TestFolder folder;
  folder.write("volume/..1/a.yaml", "one");
  fs::create_directory_symlink("..1", folder / "volume/..data");
  fs::create_symlink("..data/a.yaml", folder / "volume/a.yaml");
  fs::create_directory(folder / "in");
  fs::create_symlink(folder / "volume/a.yaml", folder / "in/a.yaml");
  for (const std::string& resources : {folder / "in", folder / "volume"}) {
    const std::string a = resources + "/a.yaml";
    WatchedSource watched({resources, ""});
    for (const std::string text : {"two", "three"}) {
      folder.write("volume/.." + text + "/a.yaml", text);
      fs::create_directory_symlink(".." + text, folder / "volume/..data_tmp");
      fs::rename(folder / "volume/..data_tmp", folder / "volume/..data");
      watched.until([&](const SourceState& s) { return s.files.at(a).text == text; });
    }
  }
}

BOOST_AUTO_TEST_CASE(a_folder_behind_a_link_is_watched) {
  namespace fs = std::filesystem;
  TestFolder folder;
  folder.write("one/resources/a.yaml", "one");
  folder.write("two/resources/a.yaml", "two");
  fs::create_directory_symlink("one", folder / "input");
  const std::string a = folder / "input/resources/a.yaml";
  WatchedSource watched(SourcePaths::of(folder.path().string()));
  folder.write("one/resources/a.yaml", "changed");
  watched.until([&](const SourceState& s) { return s.files.at(a).text == "changed"; });
  fs::create_directory_symlink("two", folder / "next");
  fs::rename(folder / "next", folder / "input");
  watched.until([&](const SourceState& s) { return s.files.at(a).text == "two"; });
}

BOOST_AUTO_TEST_CASE(links_in_a_circle_and_into_nothing_end) {
  namespace fs = std::filesystem;
  TestFolder folder;
  fs::create_directory(folder / "in");
  fs::create_symlink("b.yaml", folder / "in/a.yaml");
  fs::create_symlink("a.yaml", folder / "in/b.yaml");
  fs::create_symlink("../missing/c.yaml", folder / "in/c.yaml");
  const auto plan = plan_watches({folder / "in", ""});
  BOOST_REQUIRE(plan.has_value());
  BOOST_TEST(plan->at(folder / "in").is_whole);
  BOOST_TEST(plan->at(folder.path().string()).names.contains("missing"));
  WatchedSource watched({folder / "in", ""});
  BOOST_TEST(watched.source.state().files.at(folder / "in/a.yaml").error ==
             "Too many levels of symbolic links");
  const std::string c = folder.write("missing/c.yaml", "here");
  watched.until([&](const SourceState& s) { return s.files.contains(folder / "in/c.yaml"); });
}

BOOST_AUTO_TEST_CASE(too_long_a_file_is_an_error_of_that_file) {
  TestFolder folder;
  const std::string a = folder.write("a.yaml", std::string(kDocumentBytesMax + 1, ' '));
  folder.write("b.yaml", "");
  const SourceState state = read_source({folder.path().string(), ""});
  BOOST_TEST(state.files.size() == 2u);
  BOOST_TEST(state.files.at(a).error.starts_with("longer than"));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read_for_want_of_descriptors_stands) {
  TestFolder folder;
  folder.write("input/resources/a.yaml", "one");
  folder.write("input/certs/mine/tls.crt", "c");
  SourceReader reader(SourcePaths::of(folder.path().string()));
  BOOST_TEST(reader.read());
  SourceState before = reader.state();
  {
    const NoDescriptors none;
    BOOST_TEST(reader.read());
    BOOST_TEST(!reader.read());
  }
  BOOST_TEST(reader.state().unread.at(folder / "input/resources") == "Too many open files");
  BOOST_TEST(reader.state().unread.at(folder / "input/certs") == "Too many open files");
  BOOST_TEST(bool(reader.state().files == before.files));
  BOOST_TEST(bool(reader.state().secrets == before.secrets));
  BOOST_TEST(reader.read());
  BOOST_TEST(bool(reader.state() == before));
  std::filesystem::remove_all(folder / "input");
  BOOST_TEST(reader.read());
  BOOST_TEST(bool(reader.state() == SourceState()));
}

namespace {
// How often files of a folder were opened since.
class Openings {
 public:
  explicit Openings(const std::string& folder) : notices_(::inotify_init1(IN_NONBLOCK)) {
    BOOST_REQUIRE(::inotify_add_watch(notices_, folder.c_str(), IN_OPEN) >= 0);
  }
  ~Openings() { ::close(notices_); }
  int count() {
    alignas(inotify_event) std::array<char, 4096> events;
    int files = 0;
    for (ssize_t size; (size = ::read(notices_, events.data(), events.size())) > 0;) {
      for (ssize_t at = 0; at < size;) {
        const auto& event = *reinterpret_cast<const inotify_event*>(events.data() + at);
        files += (event.mask & IN_ISDIR) == 0;
        at += static_cast<ssize_t>(sizeof event + event.len);
      }
    }
    return files;
  }

 private:
  int notices_;
};
}  // namespace

BOOST_AUTO_TEST_CASE(files_that_did_not_change_are_not_opened) {
  TestFolder folder;
  const std::string a = folder.write("resources/a.yaml", "one");
  const std::string key = folder.write("certs/mine/tls.key", "k");
  SourceReader reader({folder / "resources", folder / "certs"});
  const auto loop = make_test_loop();
  for (const std::string& file : {a, key}) {
    Openings openings(std::filesystem::path(file).parent_path());
    // Once they have been left alone for long enough.
    run_until(*loop, [&] {
      reader.read();
      return openings.count() == 0;
    });
    // The same size, the same time of modification: all that tells is the time of the change.
    struct stat before{};
    BOOST_REQUIRE(::stat(file.c_str(), &before) == 0);
    std::ofstream(file) << (file == a ? "two" : "l");
    const timespec times[] = {before.st_atim, before.st_mtim};
    BOOST_REQUIRE(::utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
    BOOST_TEST(reader.read());
  }
  BOOST_TEST(reader.state().files.at(a).text == "two");
  BOOST_TEST(reader.state().secrets.at("mine").data.at("tls.key") == "l");
}

BOOST_AUTO_TEST_CASE(changes_within_the_grain_of_file_times_are_seen) {
  TestFolder folder;
  SourceReader reader({folder.path().string(), ""});
  for (int i = 0; i < 300; ++i) {
    const std::string text = std::to_string(1000 + i);
    const std::string a = folder.write("a.yaml", text);
    BOOST_TEST_REQUIRE(reader.read());
    BOOST_TEST_REQUIRE(reader.state().files.at(a).text == text);
  }
}

BOOST_AUTO_TEST_CASE(more_documents_than_are_read_are_an_error_and_the_first_by_name_are_read) {
  TestFolder folder;
  const std::string resources = folder / "resources";
  for (const char* name : {"d.yaml", "b.yaml", "notes.txt", "c.yaml"}) {
    folder.write("resources/" + std::string(name), name);
  }
  SourceReader reader({resources, ""}, 3);
  reader.read();
  BOOST_TEST(reader.state().files.size() == 3u);
  const std::string a = folder.write("resources/a.yaml", "a");
  reader.read();
  const auto& files = reader.state().files;
  BOOST_TEST(files.at(a).text == "a");
  BOOST_TEST(files.at(resources).error ==
             "it holds 4 documents, of which the first 3 by name are read");
  // It was read once, and nobody deleted it.
  BOOST_TEST(files.at(resources + "/d.yaml").error == "its folder holds too many");
  std::filesystem::remove(resources + "/d.yaml");
  reader.read();
  BOOST_TEST(files.size() == 3u);
}

BOOST_AUTO_TEST_CASE(half_a_secret_leaves_the_whole_one) {
  TestFolder folder;
  folder.write("certs/mine/tls.crt", "c");
  folder.write("certs/mine/tls.key", "k");
  SourceReader reader({folder / "resources", folder / "certs"});
  reader.read();
  folder.write("certs/mine/tls.key", std::string(kDocumentBytesMax + 1, 'k'));
  BOOST_TEST(reader.read());
  BOOST_TEST(reader.state().secrets.at("mine").data.at("tls.key") == "k");
  BOOST_REQUIRE(reader.state().unread.contains(folder / "certs/mine"));
  BOOST_TEST(reader.state().unread.at(folder / "certs/mine").starts_with("tls.key: longer than"));
}

BOOST_AUTO_TEST_SUITE_END()
