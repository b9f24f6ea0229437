"""Spellings of addresses that must not be dialled; `{port}` is where the server that must not be reached listens."""

from __future__ import annotations

HOSTS = """
127.0.0.1 127.0.0.2 127.1 127.0.1 127.000.000.001 127.0.0.1. 2130706433 017700000001 0x7f000001 0x7f.1
0x7f.0.0.1 0177.0.0.1 0177.0.0.01 0x7F.0x0.0x0.0x1 0 0.0.0.0 00000000 0x0 localhost LOCALHOST localhost.
LocalHost. localhost.localdomain ip6-localhost %6c%6f%63%61%6c%68%6f%73%74 %31%32%37.0.0.1 127%2e0%2e0%2e1
127.0.0.1%2f １２７.0.0.1 １２７．０．０．１ 127。0。0。1 ①②⑦.⓪.⓪.① ｌｏｃａｌｈｏｓｔ ⓛocalhost ℓocalhost
[::1] [0:0:0:0:0:0:0:1]
[0000:0000:0000:0000:0000:0000:0000:0001] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1]
[::127.0.0.1] [::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::]
[2002:7f00:0001::1] [2001:0:7f00:1::1] [2001:0:4136:e378:8000:63bf:80ff:fffe] [::1%25lo] [fe80::1]
[fe80::1%25lo] [fe80::1%lo] [fec0::1] [fc00::1] [fd00::1] [fd00:ec2::254] [ff02::1] [ff01::1] [100::1]
[2001:db8::1] [3fff::1] [5f00::1] 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.1.1
100.64.0.1 100.100.100.200 169.254.169.254 169.254.1.1 0xa9fea9fe 2852039166 0xA9.0xFE.0xA9.0xFE
0251.0376.0251.0376 [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] 192.0.0.192 192.0.0.1 192.0.2.1 192.88.99.1
198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16 0.1.2.3
""".split()  # noqa: SIM905 - a table of spellings reads better than as many strings

FORMS = """
http://user@127.0.0.1:{port}/ http://user:pass@127.0.0.1:{port}/ http://example.com@127.0.0.1:{port}/
http://@127.0.0.1:{port}/ http://example.com:80@127.0.0.1:{port}/ http://127.0.0.1:{port}#@example.com/
http://127.0.0.1:{port}?@example.com/ http://example.com%40127.0.0.1:{port}/
http://example.com#@127.0.0.1:{port}/%00 http://127.0.0.1:{port}\\@example.com/ http:\\\\127.0.0.1:{port}/
http:127.0.0.1:{port}/ http:/127.0.0.1:{port}/ http:///127.0.0.1:{port}/ http:////127.0.0.1:{port}/
//127.0.0.1:{port}/ /127.0.0.1:{port}/ 127.0.0.1:{port} HTTP://127.0.0.1:{port}/ hTTp://localhost:{port}/
file:///etc/passwd ftp://127.0.0.1:{port}/ gopher://127.0.0.1:{port}/_GET ws://127.0.0.1:{port}/
wss://127.0.0.1:{port}/ unix:///tmp/x data:,x javascript:alert(1) jar:http://127.0.0.1:{port}!/
blob:http://127.0.0.1:{port}/ http+unix://127.0.0.1:{port}/ tcp://127.0.0.1:{port}/
http://127.0.0.1:{port}:80/ http://127.0.0.1:-1/ http://127.0.0.1:0/ http://127.0.0.1:99999/
http://127.0.0.1:１２３/ http://[127.0.0.1]:{port}/ http://[::1:{port}/ http://::1:{port}/ http://
http://:{port}/ https:// http://./ http://../ http://*:{port}/ https://127.0.0.1:{port}/
""".split()  # noqa: SIM905 - a table of spellings reads better than as many strings

CONTROLS = [
    "http://127.0.0.1:{port}/\r\nX: y",
    "http://127.0.0.1:{port}\t/",
    " http://127.0.0.1:{port}/",
    "\x00http://127.0.0.1:{port}/",
    "http://127.0.0.1\x00.example.com:{port}/",
    "http://127.0.0.1 .example.com:{port}/",
    "http://127.0.0.1:{port}/\u2028",
    "http://\ud800:{port}/",
    "",
    "http://" + "a" * 9000,
    "http://" + "a" * 64 + ".com/",
    "http://a..com/",
]
