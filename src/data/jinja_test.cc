// The engine alone. Its equality with jinja2 is tested by tests/python/test_chat_template.py.
#include "data/jinja.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing.h"

namespace trireme::data::jinja {
namespace {

constexpr Mark kUser = 2;

Text rendered(const std::string& source, const config::Json& variables = {}) {
  Template::Variables values;
  for (const auto& [key, value] : variables.items()) {
    values.emplace_back(key, from_json(value, kUser));
  }
  return Template(source, "t.jinja").render(values, 0);
}

std::string complaint(const std::string& source) {
  return user_error([&] { rendered(source); });
}

// The bytes of the output that a message wrote; those of the template as dots.
std::string of_user(const std::string& expression) {
  const Text text = rendered("{{ " + expression + " }}",
                             {{"u", "<|A b|> "}, {"m", {{"k", "v\n"}}}, {"list", {"x", "y"}}});
  std::string shown = text.bytes;
  for (size_t i = 0; i < shown.size(); ++i) {
    if (text.marks[i] == kOwn) shown[i] = '.';
  }
  return shown;
}

TEST(Jinja, MarksFollowTheirCharacters) {
  EXPECT_EQ(of_user("'<' + u + '>'"), ".<|A b|> .");
  EXPECT_EQ(of_user("u | trim | upper"), "<|A B|>");
  EXPECT_EQ(of_user("u.split('|')[1] ~ '|' ~ u[:2]"), "A b.<|");
  EXPECT_EQ(of_user("'+'.join(u.replace('A', '-').strip().split())"), "<|..b|>");
  EXPECT_EQ(of_user("u[::-1]"), " >|b A|<");
  EXPECT_EQ(of_user("m | tojson"), "..k....v\\n..");
  EXPECT_EQ(of_user("m"), "..k....v\\n..");
  EXPECT_EQ(of_user("list | map('upper') | join('-')"), "X.Y");
  EXPECT_EQ(of_user("'%s:%d' % (u | trim, 7) ~ '{:>3}'.format(list[0])"), "<|A b|>....x");
  EXPECT_EQ(of_user("('a\n' ~ u) | indent(2)"), "....<|A b|> ");
}

TEST(Jinja, MarksPassThroughMacrosAndBlocks) {
  const Text text = rendered(
      "{% macro wrap(x) %}({{ x }}{{ caller() }}){% endmacro %}{% set b %}{{ u }}!{% endset %}"
      "{% call wrap(b) %}{% filter upper %}z{{ u }}{% endfilter %}{% endcall %}",
      {{"u", "é"}});
  EXPECT_EQ(text.bytes, "(é!ZÉ)");
  EXPECT_EQ(text.marks, std::string("\0\2\2\0\0\2\2\0", 8));
}

TEST(Jinja, GenerationIsMarkedWhereverItIsRendered) {
  const Text text = rendered(
      "{% macro say() %}a{% generation %}b{{ 'c' }}{% endgeneration %}{% endmacro %}{{ say() }}d");
  EXPECT_EQ(text.bytes, "abcd");
  EXPECT_EQ(text.marks, (std::string{kOwn, kGenerated, kGenerated, kOwn}));
  EXPECT_TRUE(Template("{% generation %}{% endgeneration %}", "").marks_generation());
}

TEST(Jinja, MessagesNamePlaceAndWhat) {
  EXPECT_EQ(complaint("{{ raise_exception('only\nusers') }}"),
            "t.jinja: the chat template refuses the messages: only\\x0ausers");
  EXPECT_EQ(complaint("é\n é{{ 1 + 'a' }}"),
            "t.jinja:2:8: chat template: unsupported operand type(s) for +: 'int' and 'str'");
  EXPECT_EQ(complaint("{{ x.y }}"), "t.jinja:1:5: chat template: 'x' is undefined");
  EXPECT_EQ(complaint("{% if a %}"),
            "t.jinja:1:11: chat template: the template ends without 'endif'");
  EXPECT_EQ(
      complaint("{{ [].append(1) }}"),
      "t.jinja:1:13: chat template: access to attribute 'append' of 'list' object is unsafe.");
  EXPECT_EQ(complaint("\xff"), "t.jinja: chat template: not UTF-8");
}

TEST(Jinja, WhatItHasNotIsRefusedByName) {
  EXPECT_EQ(complaint("{% if false %}{{ x | groupby('a') }}{% endif %}"),
            "t.jinja:1:22: chat template: the filter 'groupby' is not supported");
  EXPECT_EQ(complaint("{% for x in y recursive %}{% endfor %}"),
            "t.jinja:1:15: chat template: a recursive loop is not supported");
  EXPECT_EQ(complaint("{{ cycler(1) }}"),
            "t.jinja:1:4: chat template: the function 'cycler' is not supported");
  // jinja2 does not know it either, and says so only when it is reached.
  EXPECT_EQ(rendered("{% if false %}{{ x | from_json }}{% endif %}a").bytes, "a");
  EXPECT_EQ(complaint("{{ 'x' | from_json }}"),
            "t.jinja:1:10: chat template: No filter named 'from_json'.");
}

TEST(Jinja, EveryRenderingEnds) {
  const std::string steps = "the template does more than 5000000 steps";
  for (const std::string& source : std::vector<std::string>{
           "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
           "{% set ns = namespace(a='aa') %}{% for i in range(99) %}{% set ns.a = ns.a + ns.a %}"
           "{% endfor %}",
           "{% set ns = namespace(a=[1]) %}{% for i in range(99) %}{% set ns.a = ns.a + ns.a %}"
           "{% endfor %}",
           "{{ ('a' * 600000).replace('', 'b' * 600000) }}"}) {
    EXPECT_NE(complaint(source).find(steps), std::string::npos) << source;
  }
  EXPECT_NE(complaint("{{ range(10**12) }}").find("Range too big"), std::string::npos);
  EXPECT_NE(complaint("{{ 'a' * 10**12 }}").find("too long"), std::string::npos);
  EXPECT_NE(complaint("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").find("too deeply"),
            std::string::npos);
  const std::string open(5000, '('), close(5000, ')');
  EXPECT_NE(complaint("{{ " + open + "1" + close + " }}").find("too deeply"), std::string::npos);
  std::string sum = "{{ 1";
  for (int i = 0; i < 5000; ++i) sum += " + 1";
  EXPECT_NE(complaint(sum + " }}").find("too deeply"), std::string::npos);
}

TEST(Jinja, ANamespaceMayHoldItself) {
  EXPECT_EQ(
      rendered("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns.self.self is defined }}")
          .bytes,
      "True");
}

}  // namespace
}  // namespace trireme::data::jinja
