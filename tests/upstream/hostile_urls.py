"""Addresses that must not be dialled, each with its reason; `{port}` stands for where the canary listens.

They come from the corpora of SSRF testers, from the metadata services of the clouds, and from the special-purpose
registries of IANA.
"""

from __future__ import annotations

from typing import Final


def _table(text: str) -> dict[str, str]:
    """Lines of `entry  reason`."""
    return dict(line.split(None, 1) for line in text.strip().splitlines())


HOSTS: Final = _table("""
127.0.0.1                                   loopback
127.0.0.2                                   loopback is a whole /8
127.255.255.254                             its other end
127.1                                       short form
127.0.1                                     short form of three parts
127.000.000.001                             padded parts, octal to some
127.0.0.1.                                  trailing dot
127.0.0.1..                                 two trailing dots
2130706433                                  decimal
2130706433.                                 decimal with a trailing dot
4294967295                                  decimal broadcast
017700000001                                octal
0x7f000001                                  hex
0X7F000001                                  hex in capitals
0x7f.1                                      hex and short
0x7f.0.0.1                                  hex in one part
0177.0.0.1                                  octal in one part
0177.0.0.01                                 octal in two parts
0x7F.0x0.0x0.0x1                            hex in all parts
0x7f.00.0x0.1                               all three bases
0                                           this host, as one digit
0.0.0.0                                     this host
00000000                                    this host in octal
0x0                                         this host in hex
0.                                          this host with a trailing dot
1                                           0.0.0.1
localhost                                   this machine's name
LOCALHOST                                   in capitals
localhost.                                  as a full name
LocalHost.                                  both
localhost.localdomain                       its old full name
ip6-localhost                               its name in many hosts files
a.localhost                                 RFC 6761: every name below is this machine
a.b.LOCALHOST.                              the same, in capitals and as a full name
%6c%6f%63%61%6c%68%6f%73%74                 percent-encoded name
%31%32%37.0.0.1                             percent-encoded digits
127%2e0%2e0%2e1                             percent-encoded dots
127.0.0.1%2f                                percent-encoded slash
127.0.0.1%00                                percent-encoded end of a C string
127.0.0.1%0d%0a                             percent-encoded line break
127.0.0.1;80                                semicolon, where some readers stop
127.0.0.1,example.com                       comma, where some readers stop
127.0.0.1'                                  quote
{127,0,0,1}                                 braces that curl expands
１２７.0.0.1                                 fullwidth digits
１２７．０．０．１                              fullwidth digits and dots
127。0。0。1                                   ideographic dots
127｡0｡0｡1                                   halfwidth ideographic dots
①②⑦.⓪.⓪.①                                 circled digits
𝟏𝟐𝟕.𝟎.𝟎.𝟏                                   mathematical bold digits
²¹³⁰⁷⁰⁶⁴³³                                  superscript decimal
０ｘ７ｆ．１                                    fullwidth hex
١٢٧.٠.٠.١                                   Arabic digits
ｌｏｃａｌｈｏｓｔ                                fullwidth name
ⓛocalhost                                   a circled letter
ℓocalhost                                   a script letter
loc\u00adalhost                             a soft hyphen, which IDNA drops
localhost\u200b                             a space of no width
[::1]                                       IPv6 loopback
[0:0:0:0:0:0:0:1]                           written out
[0000:0000:0000:0000:0000:0000:0000:0001]   written out and padded
[::0001]                                    padded
[::]                                        unspecified, which reaches this host
[0:0:0:0:0:0:0:0]                           the same, written out
[::ffff:127.0.0.1]                          IPv4-mapped loopback
[::FFFF:127.0.0.1]                          in capitals
[::ffff:7f00:1]                             in hex
[0:0:0:0:0:ffff:127.0.0.1]                  written out
[::ffff:169.254.169.254]                    IPv4-mapped metadata
[::ffff:a9fe:a9fe]                          in hex
[::ffff:10.0.0.1]                           IPv4-mapped private
[::ffff:8.8.8.8]                            IPv4-mapped, although public inside
[::ffff:0:127.0.0.1]                        IPv4-translated (RFC 2765)
[::127.0.0.1]                               IPv4-compatible
[::7f00:1]                                  in hex
[::8.8.8.8]                                 IPv4-compatible, although public inside
[64:ff9b::127.0.0.1]                        NAT64 loopback
[64:ff9b::7f00:1]                           in hex
[64:ff9b::169.254.169.254]                  NAT64 metadata
[64:ff9b::a00:1]                            NAT64 private
[64:ff9b::8.8.8.8]                          NAT64, although public inside
[64:ff9b:1::7f00:1]                         local-use NAT64 (RFC 8215)
[64:ff9b:1::8.8.8.8]                        the same, although public inside
[2002:7f00:1::]                             6to4 loopback
[2002:7f00:0001::1]                         padded
[2002:a9fe:a9fe::1]                         6to4 metadata
[2001:0:7f00:1::1]                          Teredo
[2001:0:4136:e378:8000:63bf:80ff:fffe]      Teredo with 127.0.0.1 hidden in it
[2001:470:1:1:0:5efe:7f00:1]                ISATAP loopback
[2001:470:1:1:200:5efe:10.0.0.1]            ISATAP private, with the bit for global
[::1%25lo]                                  zone, encoded
[::1%lo]                                    zone
[fe80::1]                                   link-local
[fe80::1%25lo]                              link-local with a zone
[fe80::1%lo]                                the same, not encoded
[fe80::1%251]                               zone by number
[fe80::a9fe:a9fe]                           OpenStack metadata
[febf::1]                                   the end of link-local
[2606:4700::1111%25eth0]                    a public address with a zone
[fec0::1]                                   site-local
[fc00::1]                                   unique local
[fd00::1]                                   unique local
[fd00:ec2::254]                             AWS metadata
[fd20:ce::254]                              Google Cloud metadata
[fd00:42::42]                               Scaleway metadata
[fd00:a9fe:a9fe::1]                         Akamai metadata
[ff01::1]                                   multicast on this machine
[ff02::1]                                   multicast on the link
[ff0e::1]                                   multicast, global
[100::1]                                    discard
[2001:db8::1]                               documentation
[3fff::1]                                   documentation
[2001:2::1]                                 benchmarks
[2001:20::1]                                ORCHID, no host
[5f00::1]                                   segment routing
[4000::1]                                   never given out
[v1.fe80::a]                                an address of the future (RFC 3986)
[127.0.0.1]                                 IPv4 in brackets
10.0.0.1                                    private
10.255.255.255                              its end
172.16.0.1                                  private
172.31.255.255                              its end
192.168.0.1                                 private
192.168.1.1                                 the router at home
192.168.257                                 private, short
100.64.0.1                                  carrier-grade NAT
100.127.255.255                             its end
100.100.100.200                             Alibaba Cloud metadata
169.254.169.254                             metadata of AWS, Google Cloud, Azure and others
169.254.170.2                               credentials of AWS tasks
169.254.169.253                             AWS name server
169.254.0.23                                Tencent Cloud metadata
169.254.42.42                               Scaleway metadata
169.254.1.1                                 link-local
169.254.169.254.                            metadata, trailing dot
0xa9fea9fe                                  metadata in hex
0xA9.0xFE.0xA9.0xFE                         metadata, hex in all parts
2852039166                                  metadata in decimal
025177524776                                metadata in octal
0251.0376.0251.0376                         metadata, octal in all parts
169.254.43518                               metadata, short
192.0.0.192                                 Oracle Cloud metadata
192.0.0.1                                   protocol assignments
192.0.2.1                                   documentation
192.88.99.1                                 6to4 relays
198.18.0.1                                  benchmarks
198.19.255.255                              their end
198.51.100.1                                documentation
203.0.113.1                                 documentation
224.0.0.1                                   multicast
239.255.255.255                             its end
240.0.0.1                                   reserved
255.255.255.255                             broadcast
168.63.129.16                               Azure's host agent
0.1.2.3                                     this network
0x08080808                                  an odd spelling, although public
8.8.2056                                    the same, short
8.8.8.8.                                    the same, trailing dot
256.0.0.1                                   no number of an address
1.2.3.4.5                                   too many parts
""")

NAMES: Final = {
    "metadata.google.internal": ("169.254.169.254",),
    "metadata.goog": ("169.254.169.254",),
    "metadata.tencentyun.com": ("169.254.0.23",),
    "instance-data": ("169.254.169.254",),
    "kubernetes.default.svc": ("10.96.0.1",),
    "host.docker.internal": ("192.168.65.254",),
    "127.0.0.1.nip.io": ("127.0.0.1",),
    "7f000001.nip.io": ("127.0.0.1",),
    "localtest.me": ("127.0.0.1", "::1"),
    "xn--lclhst-example": ("127.0.0.1",),
    "mapped.example": ("::ffff:127.0.0.1",),
    "mapped-public.example": ("::ffff:8.8.8.8",),
    "nat64.example": ("64:ff9b::7f00:1",),
    "nat64-metadata.example": ("64:ff9b::a9fe:a9fe",),
    "local-nat64.example": ("64:ff9b:1::808:808",),
    "sixtofour.example": ("2002:7f00:1::1",),
    "isatap.example": ("2001:470:1:1:0:5efe:7f00:1",),
    "ula.example": ("fd00::1",),
    "zone.example": ("fe80::1%lo",),
    "zero.example": ("0.0.0.0",),
    "mixed.example": ("93.184.216.34", "127.0.0.1"),
    "mixed6.example": ("2606:4700::1111", "::1"),
}
"""Names that are harmless to read, and where they lead: what public services answer, and what a hostile owner would."""

FORMS: Final = _table("""
http://user@127.0.0.1:{port}/               user name
http://user:pass@127.0.0.1:{port}/          user name and password
http://example.com@127.0.0.1:{port}/        a user name that looks like the host
http://example.com:80@127.0.0.1:{port}/     with a port
http://@127.0.0.1:{port}/                   empty user name
http://:@127.0.0.1:{port}/                  both empty
http://a@b@127.0.0.1:{port}/                two at signs
http://127.0.0.1:{port}#@example.com/       the fragment looks like the host
http://127.0.0.1:{port}?@example.com/       the query looks like the host
http://example.com%40127.0.0.1:{port}/      encoded at sign
http://example.com#@127.0.0.1:{port}/%00    the fragment is an address
http://127.0.0.1:{port}\\@example.com/       backslash, a slash to browsers
http://example.com\\@127.0.0.1:{port}/       the other way round
http:\\\\127.0.0.1:{port}/                    backslashes for slashes
http:/\\127.0.0.1:{port}/                    one of each
http:127.0.0.1:{port}/                      no slash
http:/127.0.0.1:{port}/                     one slash
http:///127.0.0.1:{port}/                   three slashes
http:////127.0.0.1:{port}/                  four slashes
//127.0.0.1:{port}/                         no scheme
/127.0.0.1:{port}/                          a path
127.0.0.1:{port}                            the host as the scheme
HTTP://127.0.0.1:{port}/                    scheme in capitals
hTTp://localhost:{port}/                    scheme in mixed letters
http://http://127.0.0.1:{port}/             scheme twice
url:http://127.0.0.1:{port}/                Java's prefix
file:///etc/passwd                          a file
file://127.0.0.1/etc/passwd                 a file of a host
ftp://127.0.0.1:{port}/                     another protocol
gopher://127.0.0.1:{port}/_GET              a protocol that speaks all others
dict://127.0.0.1:{port}/info                a dictionary, or a Redis
ldap://127.0.0.1:{port}/                    a directory
ws://127.0.0.1:{port}/                      a protocol that aiohttp knows
wss://127.0.0.1:{port}/                     the same with TLS
tcp://127.0.0.1:{port}/                     a scheme that aiohttp's connector knows
unix:///tmp/x                               a socket of this machine
http+unix://127.0.0.1:{port}/               the same over HTTP
http+unix://%2Fvar%2Frun%2Fdocker.sock/     Docker
data:,x                                     no host at all
javascript:alert(1)                         a script
jar:http://127.0.0.1:{port}!/               an archive at an address
blob:http://127.0.0.1:{port}/               an object of a browser
http://127.0.0.1:{port}:80/                 two ports
http://127.0.0.1:80:{port}/                 two ports, the other way round
http://127.0.0.1:-1/                        negative port
http://127.0.0.1:0/                         port 0
http://127.0.0.1:65536/                     a port beyond the last
http://127.0.0.1:99999/                     further beyond
http://127.0.0.1:8_0/                       a number to Python only
http://example.com:+80/                     the same
http://127.0.0.1:１２３/                     fullwidth port
http://127.0.0.1：{port}/                    fullwidth colon
http://127.0.0.1／@example.com/              fullwidth slash
http://[::1:{port}/                         open bracket
http://::1:{port}/                          no brackets
http://[::1]x:{port}/                       something after the bracket
http://x[::1]:{port}/                       something before the bracket
http://[]:{port}/                           nothing in the brackets
http://                                     no host
http://:{port}/                             a port only
http://?                                    a query only
https:                                      a scheme only
http://./                                   a dot
http://../                                  two dots
http://.127.0.0.1:{port}/                   leading dot
http://127..0.0.1:{port}/                   empty part
http://*:{port}/                            every host
https://127.0.0.1:{port}/                   with TLS
https://localhost:{port}/                   with TLS, by name
http://xn--/                                broken Punycode
http://a..com/                              empty label
http://-:{port}/                            a hyphen
""")

_CONTROLS: Final = {
    "http://127.0.0.1:{port}/\r\nX: y": "a header in the path",
    "http://127.0.0.1:{port}\t/": "a tab, which browsers drop",
    "http://127.0.0\t.1:{port}/": "a tab inside the host",
    "ht\ntp://127.0.0.1:{port}/": "a line break inside the scheme",
    " http://127.0.0.1:{port}/": "a leading space",
    "http:// 127.0.0.1:{port}/": "a space before the host",
    "http://127.0.0.1:{port}/ HTTP/1.1\r\n": "a whole request line",
    "\x00http://127.0.0.1:{port}/": "a leading NUL",
    "http://127.0.0.1\x00.example.com:{port}/": "a NUL where C stops reading",
    "http://127.0.0.1 .example.com:{port}/": "a space where some stop reading",
    "http://127.0.0.1:{port}/\u2028": "a line separator",
    "http://127.0.0.1\u3000:{port}/": "a wide space",
    "http://\ud800:{port}/": "half a surrogate pair",
    "": "nothing",
    "http://" + "a" * 9000: "longer than any address",
    "http://" + "a" * 64 + ".com/": "a label too long for DNS",
    "http://" + "a." * 130 + "com/": "a name too long for DNS",
    "http://" + "0" * 300 + "1:{port}/": "a very long 1",
    "http://127.0.0." + "0" * 200 + "1:{port}/": "a very long part",
}
CONTROLS: Final = list(_CONTROLS)

URLS: Final = {
    **{f"http://{host}:{{port}}/": why for host, why in HOSTS.items()},
    **{f"http://{name}:{{port}}/": f"a name of {' and '.join(leads)}" for name, leads in NAMES.items()},
    **FORMS,
    **_CONTROLS,
}
"""All of them, whole, with the reason of each."""
