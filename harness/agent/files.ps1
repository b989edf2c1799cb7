# What no cmdlet does with files and data.

function Receive-InteropFile { # the host fetches a file; what arrived is told, whether it is right is the driver's to say
    [CmdletBinding()] param([string]$Uri, [string]$Token, [string]$Path, [int]$Seconds)
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor 3072 # TLS 1.2
    $request = [Net.WebRequest]::Create($Uri)
    $request.Proxy = $null
    $request.Timeout = $request.ReadWriteTimeout = 60000
    $request.Headers.Add('Authorization', "Bearer $Token")
    $clock = [Diagnostics.Stopwatch]::StartNew()
    $sha = [Security.Cryptography.SHA256]::Create()
    $buffer = [byte[]]::new(1MB)
    $answer = $request.GetResponse()
    try {
        $from = $answer.GetResponseStream()
        $file = [IO.File]::Create($Path)
        try {
            while (($count = $from.Read($buffer, 0, $buffer.Length)) -gt 0) {
                $file.Write($buffer, 0, $count)
                $null = $sha.TransformBlock($buffer, 0, $count, $null, 0)
                if ($clock.Elapsed.TotalSeconds -gt $Seconds) { throw [TimeoutException]"not all of it came within $Seconds s" }
            }
            $null = $sha.TransformFinalBlock($buffer, 0, 0)
            $hash = [BitConverter]::ToString($sha.Hash).Replace('-', '').ToLowerInvariant()
            [pscustomobject]@{ Length = $file.Length; Sha256 = $hash }
        } finally { $file.Dispose() }
    } finally { $answer.Dispose() }
}

function Add-InteropChunk { # a piece of a file, where the host cannot fetch it; writing it twice does no harm
    [CmdletBinding()] param([string]$Path, [long]$Offset, [string]$Data)
    $bytes = [Convert]::FromBase64String($Data)
    $file = [IO.File]::Open($Path, 'OpenOrCreate', 'Write', 'Read')
    try {
        if ($Offset -gt $file.Length) { throw (New-Failure 'Gap' 'InvalidArgument' "byte $Offset came before byte $($file.Length)") }
        if ($Offset -eq 0) { $file.SetLength(0) }
        $null = $file.Seek($Offset, 'Begin')
        $file.Write($bytes, 0, $bytes.Length)
        [pscustomobject]@{ Length = $file.Length }
    } finally { $file.Dispose() }
}

function Compress-InteropData { # a picture of the screen is 1.5 MB
    [CmdletBinding()] param([byte[]]$Data)
    $packed = [IO.MemoryStream]::new()
    $stream = [IO.Compression.DeflateStream]::new($packed, [IO.Compression.CompressionMode]::Compress)
    $stream.Write($Data, 0, $Data.Length)
    $stream.Dispose()
    [Convert]::ToBase64String($packed.ToArray())
}

function Get-ScriptDigest { # of the file that was started, without its signature: is it the agent of those who ask?
    $text = ([IO.File]::ReadAllText($PSCommandPath) -split '(?m)^# SIG # Begin', 2)[0].Replace("`r`n", "`n").TrimEnd() + "`n"
    $hash = [Security.Cryptography.SHA256]::Create().ComputeHash([Text.Encoding]::UTF8.GetBytes($text))
    [BitConverter]::ToString($hash).Replace('-', '').ToLowerInvariant()
}
