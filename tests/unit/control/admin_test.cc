// The admin socket: a real client thread against the server on a real loop.
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "control/admin_server.h"
#include "control_fixture.h"

namespace istmo::control {

namespace {

// Answers `echo` with as many items as asked, `fail` with an error, and keeps `later` for later.
class EchoSink final : public AdminSink {
 public:
  AdminServer* server = nullptr;
  int requests = 0;
  void on_admin_request(AdminRequestId id, const Value& request) override {
    ++requests;
    const Value* verb = request.find("verb");
    if (verb == nullptr || verb->text() == "fail") {
      return server->answer(id, {.items = {}, .error = "no"});
    }
    AdminAnswer answer;
    const int count = std::stoi(request.find("count")->text());
    for (int index = 0; index < count; ++index) answer.items.push_back(request);
    server->answer(id, answer);
  }
};

struct Site {
  TestFolder folder;
  std::unique_ptr<io::Loop> loop = make_test_loop();
  EchoSink sink;
  AdminServer server{*loop, sink};
  AdminAddress address = AdminAddress::unix_socket(folder.path() / "admin.sock");
  Site() {
    sink.server = &server;
    BOOST_REQUIRE(server.listen(address).has_value());
  }
  ~Site() {
    server.stop();
    run_until(*loop, [&] { return server.is_idle(); });
  }
  // Runs the loop while `work` runs on a thread of its own.
  template <class Work>
  void while_running(Work work) {
    std::atomic<bool> is_done = false;
    std::thread client([&] {
      work();
      is_done = true;
    });
    run_until(*loop, [&] { return is_done.load(); });
    client.join();
  }
};

Value echo(int count) {
  Value request = Value::map();
  request.set("verb", "echo");
  request.set("count", count);
  request.set("text", "two\nlines and \"quotes\"");
  return request;
}

// A socket whose other end is watched: what was sent is in the kernel until it is read there.
class RawSocket {
 public:
  explicit RawSocket(int descriptor) : descriptor_(descriptor) {
    BOOST_REQUIRE(descriptor_ >= 0);
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  static RawSocket connected_to(const AdminAddress& address) {
    const auto name = socket_name(address);
    RawSocket made(open_socket(address, 0).value());
    BOOST_REQUIRE(::connect(made.descriptor_, name->raw(), name->size) == 0);
    return made;
  }
  static RawSocket listening_at(const AdminAddress& address) {
    const auto name = socket_name(address);
    RawSocket made(open_socket(address, 0).value());
    BOOST_REQUIRE(::bind(made.descriptor_, name->raw(), name->size) == 0);
    BOOST_REQUIRE(::listen(made.descriptor_, 1) == 0);
    return made;
  }
  RawSocket(RawSocket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  ~RawSocket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  RawSocket accept() { return RawSocket(::accept(descriptor_, nullptr, nullptr)); }
  void send(std::string_view text) {
    BOOST_REQUIRE(::send(descriptor_, text.data(), text.size(), MSG_NOSIGNAL) ==
                  static_cast<ssize_t>(text.size()));
  }
  bool is_read() const {
    int waiting = 0;
    return ::ioctl(descriptor_, SIOCOUTQ, &waiting) == 0 && waiting == 0;
  }
  // Appends what has come; whether anything had.
  bool receive(std::string& text, int flags = 0) {
    char buffer[4096];
    const ssize_t got = ::recv(descriptor_, buffer, sizeof buffer, flags);
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
    return got > 0;
  }

 private:
  int descriptor_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(admin)

BOOST_AUTO_TEST_CASE(many_requests_are_answered_on_one_connection) {
  Site site;
  size_t items = 0;
  bool is_equal = true;
  site.while_running([&] {
    auto client = AdminClient::connect(site.address);
    if (!client) return;
    for (int count : {0, 1, 1000}) {
      const auto answer = client->ask(echo(count));
      if (!answer) return;
      items += answer->size();
      for (const Value& item : *answer) is_equal &= item == echo(count);
    }
  });
  BOOST_TEST(items == 1001u);
  BOOST_TEST(is_equal);
}

BOOST_AUTO_TEST_CASE(an_error_is_told) {
  Site site;
  std::string error;
  site.while_running([&] {
    auto client = AdminClient::connect(site.address);
    Value request = Value::map();
    request.set("verb", "fail");
    if (client) error = client->ask(request).error().text();
  });
  BOOST_TEST(error == "no");
}

// As a web page could make a browser send: the body of a POST is a request of ours.
BOOST_AUTO_TEST_CASE(a_line_that_is_no_request_ends_the_connection) {
  Site site;
  std::string answer;
  site.while_running([&] {
    const auto name = socket_name(site.address);
    const auto descriptor = open_socket(site.address, 0);
    if (!descriptor || ::connect(*descriptor, name->raw(), name->size) != 0) return;
    const std::string text = "POST / HTTP/1.1\r\n\r\n{\"verb\":\"echo\",\"count\":1}\n";
    ::send(*descriptor, text.data(), text.size(), MSG_NOSIGNAL);
    char buffer[1024];
    while (true) {
      const ssize_t got = ::recv(*descriptor, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      answer.append(buffer, static_cast<size_t>(got));
    }
    ::close(*descriptor);
  });
  BOOST_TEST(std::ranges::count(answer, '\n') == 1);
  BOOST_TEST(answer.contains("not a request"));
  BOOST_TEST(site.sink.requests == 0);
}

BOOST_AUTO_TEST_CASE(requests_are_read_at_every_cut) {
  Site site;
  const std::string requests = write_line(echo(2)) + write_line(echo(0));
  std::string expected;
  const auto answers_to = [&](std::string_view first, std::string_view second) {
    RawSocket client = RawSocket::connected_to(site.address);
    std::string answers;
    for (const std::string_view piece : {first, second}) {
      client.send(piece);
      run_until(*site.loop, [&] { return client.is_read(); });
    }
    run_until(*site.loop, [&] {
      client.receive(answers, MSG_DONTWAIT);
      return std::ranges::count(answers, '\n') >= 4;
    });
    return answers;
  };
  expected = answers_to(requests, "");
  BOOST_TEST(std::ranges::count(expected, '\n') == 4);
  BOOST_TEST(site.sink.requests == 2);
  for (size_t cut = 1; cut < requests.size(); ++cut) {
    BOOST_TEST(answers_to(requests.substr(0, cut), requests.substr(cut)) == expected);
  }
}

BOOST_AUTO_TEST_CASE(an_answer_is_read_at_every_cut) {
  const TestFolder folder;
  const auto address = AdminAddress::unix_socket(folder.path() / "admin.sock");
  RawSocket listener = RawSocket::listening_at(address);
  Value item = Value::map();
  item.set("item", echo(1));
  const std::string answer = write_line(item) + write_line(item) + "{\"done\":true}\n";
  std::vector<std::vector<Value>> read;
  std::jthread command([&] {
    auto client = AdminClient::connect(address);
    for (size_t cut = 1; client && cut < answer.size(); ++cut) {
      auto items = client->ask(echo(1));
      if (!items) return;
      read.push_back(std::move(*items));
    }
  });
  RawSocket site = listener.accept();
  for (size_t cut = 1; cut < answer.size(); ++cut) {
    std::string request;
    while (!request.ends_with('\n')) BOOST_REQUIRE(site.receive(request));
    site.send(std::string_view(answer).substr(0, cut));
    while (!site.is_read()) std::this_thread::yield();
    site.send(std::string_view(answer).substr(cut));
  }
  command.join();
  BOOST_TEST(read.size() == answer.size() - 1);
  const std::vector<Value> expected{echo(1), echo(1)};
  BOOST_TEST(std::ranges::all_of(read, [&](const auto& items) { return items == expected; }));
}

BOOST_AUTO_TEST_CASE(a_request_without_an_end_is_cut_off_at_the_bound) {
  Site site;
  bool is_closed = false;
  site.while_running([&] {
    const auto name = socket_name(site.address);
    const auto descriptor = open_socket(site.address, 0);
    if (!descriptor || ::connect(*descriptor, name->raw(), name->size) != 0) return;
    const std::string text(kAdminRequestBytesMax + 8192, 'x');
    ::send(*descriptor, text.data(), text.size(), MSG_NOSIGNAL);
    char octet = 0;
    is_closed = ::recv(*descriptor, &octet, 1, 0) <= 0;
    ::close(*descriptor);
  });
  BOOST_TEST(is_closed);
}

BOOST_AUTO_TEST_CASE(only_the_user_may_use_the_socket) {
  Site site;
  struct stat status{};
  BOOST_REQUIRE(::stat(site.address.path.c_str(), &status) == 0);
  BOOST_TEST((status.st_mode & 0777) == 0600u);
}

BOOST_AUTO_TEST_CASE(a_socket_left_by_a_dead_process_is_replaced_a_live_one_is_not) {
  Site site;
  AdminServer second(*site.loop, site.sink);
  const auto refused = second.listen(site.address);
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST(refused.error().text().contains("another process"));
  const AdminAddress stale = AdminAddress::unix_socket(site.folder.write("stale.sock", ""));
  BOOST_TEST(second.listen(stale).has_value());
  second.stop();
  run_until(*site.loop, [&] { return second.is_idle(); });
  BOOST_TEST(!std::filesystem::exists(stale.path));
}

BOOST_AUTO_TEST_CASE(addresses_are_a_path_or_a_host_and_port) {
  BOOST_TEST(AdminAddress::parse("unix:/run/a.sock")->path == "/run/a.sock");
  BOOST_TEST(AdminAddress::parse("127.0.0.1:80")->to_string() == "127.0.0.1:80");
  BOOST_TEST(AdminAddress::parse("localhost:80")->to_string() == "127.0.0.1:80");
  BOOST_TEST(AdminAddress::parse("127.1.2.3:80")->is_for_this_machine());
  BOOST_TEST(AdminAddress::parse("[::1]:80")->is_for_this_machine());
  BOOST_TEST(!AdminAddress::parse("0.0.0.0:80")->is_for_this_machine());
  BOOST_TEST(!AdminAddress::parse("[2001:db8::1]:80")->is_for_this_machine());
  BOOST_TEST(!AdminAddress::parse("unix:").has_value());
  BOOST_TEST(!AdminAddress::parse("nowhere").has_value());
  const auto deep = AdminAddress::unix_socket("/" + std::string(200, 'a'));
  BOOST_TEST(!socket_name(deep).has_value());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace istmo::control
