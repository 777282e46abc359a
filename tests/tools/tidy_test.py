"""Each house rule catches the tree that breaks it, and passes the one that does not."""

import pathlib
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import tidy  # noqa: E402


class HouseRules(unittest.TestCase):
    def setUp(self):
        hosts = unittest.mock.patch.object(tidy, "machine_hosts", lambda: {"mirror.example"})
        hosts.start()
        self.addCleanup(hosts.stop)

    def problems(self, rule, files):
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                path = pathlib.Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return tidy.check(root, [rule])

    def assert_caught(self, rule, files, expected_start):
        lines = self.problems(rule, files)
        self.assertTrue(any(line.startswith(expected_start) for line in lines), lines)

    def assert_clean(self, rule, files):
        self.assertEqual(self.problems(rule, files), [])

    def test_include_of_a_higher_layer_is_caught(self):
        self.assert_caught("layers", {"src/dataplane/io/a.cc": '#include "control/b.h"\n'},
                           "src/dataplane/io/a.cc:1: layers")

    def test_include_of_dataplane_itself_from_proxy_is_caught(self):
        self.assert_caught("layers",
                           {"src/dataplane/proxy/a.h": '\n#include "dataplane/dataplane.h"\n'},
                           "src/dataplane/proxy/a.h:2: layers")

    def test_include_that_is_not_written_from_src_is_caught(self):
        self.assert_caught("layers", {"src/base/a.cc": '#include "a.h"\n'}, "src/base/a.cc:1")

    def test_includes_downwards_are_clean(self):
        self.assert_clean("layers", {
            "src/main.cc": '#include "control/cli/cli.h"\n#include "base/log.h"\n',
            "src/control/cli/a.cc": '#include "dataplane/dataplane.h"\n#include "control/b.h"\n',
            "src/dataplane/proxy/a.cc": '#include "dataplane/io/loop.h"\n#include <poll.h>\n'})

    def test_second_home_of_a_header_is_caught(self):
        lines = self.problems("homes", {"src/base/a.cc": "#include <fmt/format.h>\n",
                                        "src/control/b.cc": "#include <fmt/format.h>\n"})
        self.assertEqual(len(lines), 2)

    def test_header_that_hands_a_library_on_is_caught(self):
        self.assert_caught("homes", {"src/base/a.h": "\n#include <fmt/format.h>\n"},
                           "src/base/a.h:2: homes: hands <fmt/format.h> on")

    def wrapped(self, files):
        """What is said when a.h is a wrapper of a library, for b."""
        wrappers = {"src/base/a.h": [tidy.re.compile(r"\bLIB_\w+"), {"src/base/b": "a reason"}]}
        files = {"src/base/a.h": "#include <lib/lib.h>\n",
                 "src/base/b.h": '#include "base/a.h"\n', "src/base/b.cc": "LIB_work();\n", **files}
        with unittest.mock.patch.object(tidy, "WRAPPERS", wrappers):
            return self.problems("homes", files)

    def test_wrapper_its_header_and_source_and_its_users_are_clean(self):
        self.assertEqual(self.wrapped({"src/base/a.cc": "#include <lib/lib.h>\nLIB_free();\n",
                                       "src/base/c.cc": '#include "base/b.h"\n// LIB_work\n'}), [])

    def test_user_of_a_wrapper_that_is_not_listed_is_caught(self):
        (line,) = self.wrapped({"src/base/c.cc": '#include "base/a.h"\n'})
        self.assertTrue(line.startswith("src/base/c.cc:1: homes: not among"), line)

    def test_use_of_a_wrapped_library_by_way_of_another_header_is_caught(self):
        (line,) = self.wrapped({"src/base/c.cc": '#include "base/b.h"\n\nLIB_work();\n'})
        self.assertTrue(line.startswith("src/base/c.cc:3: homes: LIB_work is used"), line)

    def test_listed_user_that_is_none_any_more_is_caught(self):
        (line,) = self.wrapped({"src/base/b.cc": "work();\n"})
        self.assertTrue(line.startswith("src/base/a.h:1: homes: src/base/b is listed"), line)

    def test_standard_and_kernel_headers_need_no_home(self):
        headers = ("vector", "sys/epoll.h", "linux/tls.h", "poll.h")
        text = "".join(f"#include <{header}>\n" for header in headers)
        self.assert_clean("homes", {"src/base/a.cc": text, "src/base/b.cc": text})

    def test_long_function_is_caught_and_its_neighbour_is_not(self):
        body = "  work();\n" * 69
        files = {"src/base/a.cc": f"int fits(int a) {{\n{body[10:]}}}\n\nvoid B::is_long(int a,\n"
                                  f"                int b) {{\n{body}}}\n"}
        lines = self.problems("lengths", files)
        self.assertEqual(len(lines), 1)
        self.assertIn("is_long has 72 lines", lines[0])

    def test_long_line_file_and_python_function_are_caught(self):
        self.assert_caught("lengths", {"a.h": "x" * 101 + "\n"}, "a.h:1: lengths: 101")
        self.assert_caught("lengths", {"a.h": "\n" * 601}, "a.h:601: lengths: 601")
        self.assert_caught("lengths", {"a.py": "def f():\n" + "    pass\n" * 70}, "a.py:1: lengths")

    def test_banned_words_of_the_data_plane_are_caught(self):
        for text in ("std::shared_ptr<A> a;", "std::function<void()> f;", "std::mutex m;",
                     "thread_local int a;", "throw 1;", "auto* a = new A;"):
            self.assert_caught("dataplane", {"src/dataplane/a.cc": text}, "src/dataplane/a.cc:1")

    def test_banned_words_in_text_and_placement_new_are_clean(self):
        text = ('// a new thread\n::new (place) A;\nlog("throw");\n#include <new>\n'
                "return std::unique_ptr<A>(new A(1));\n")
        self.assert_clean("dataplane", {"src/dataplane/a.cc": text,
                                        "src/control/b.cc": "throw 1;\n"})

    def test_open_end_without_an_issue_is_caught(self):
        self.assert_caught("open-ends", {"a.cc": "// TO" + "DO later\n"}, "a.cc:1: open-ends")
        self.assert_clean("open-ends", {"a.cc": "// TO" + "DO(#7) later\n"})

    def test_dead_link_is_caught(self):
        self.assert_caught("links", {"docs/a.md": "[x](b.md)\n"}, "docs/a.md:1: links")
        self.assert_clean("links", {"docs/a.md": "[x](b.md#y) [z](https://example.org/)\n",
                                    "docs/b.md": "\n"})

    def test_machine_path_and_mirror_are_caught(self):
        self.assert_caught("machine", {"a.md": "see /ho" + "me/ana/x\n"}, "a.md:1: machine")
        self.assert_caught("machine", {"a.sh": "\ncurl mirror.example/x\n"}, "a.sh:2: machine")
        self.assert_clean("machine", {"a.md": "see ~/x and docs/home/x\n"})

    def test_what_git_keeps_of_a_worktree_is_not_looked_at(self):
        self.assert_clean("machine", {".git": "gitdir: /ho" + "me/ana/x\n"})


if __name__ == "__main__":
    unittest.main()
